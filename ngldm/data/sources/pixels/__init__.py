"""Image files to pixels: read, made square, appended to arrays; and what is left out, with the reason."""

"""Tables, as the page, LaTeX and other programs read them."""

"""How an image is noised, and what is learned of it."""

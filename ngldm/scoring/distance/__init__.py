"""The Frechet distance of generated to real images: its formula, which images are compared, the real ones measured."""

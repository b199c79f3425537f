"""All scores of one set of generated images, as the stage `evaluate` writes them."""

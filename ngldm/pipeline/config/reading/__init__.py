"""How params.yaml is read, and what is said of what is wrong in it."""

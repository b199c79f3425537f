"""Feature extractors: what a score compares of an image."""

"""Feature extractors: they turn an image into the vector that scores compare."""

"""Further scores: tails, bulk and modes of points; coverage, memorisation and spectrum of images."""

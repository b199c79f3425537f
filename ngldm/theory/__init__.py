"""Moments, densities and Theorem 1's ratio of noises, measured without training."""

"""Sampling of classes: which image has which, and guidance towards it."""

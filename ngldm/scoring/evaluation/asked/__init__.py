"""Scores that are only computed where params.yaml asks for them: the Inception Score, FID-infinity."""

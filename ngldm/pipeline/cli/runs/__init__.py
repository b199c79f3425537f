"""Commands that list MLflow runs and compare them."""

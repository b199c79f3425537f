"""MLflow: runs, models, comparison."""

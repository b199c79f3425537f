"""MLflow: runs, models and their comparison."""

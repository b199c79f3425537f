"""What becomes of the records when the MLflow store is away, locked, damaged or moved."""

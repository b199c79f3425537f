"""Params, MLflow, the report and the commands: all that makes a pipeline. The library imports nothing from here."""

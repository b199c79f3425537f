"""Everything around the core: parameters, MLflow, the report, commands. Nothing in the core imports from here."""

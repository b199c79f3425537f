"""params.yaml: its keys, their units and ranges, and how it is composed."""

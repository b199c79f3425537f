"""The section `dataset` of the params, and how its source may be written."""

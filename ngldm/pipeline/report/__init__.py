"""The report page and its tables and figures, made from files alone."""

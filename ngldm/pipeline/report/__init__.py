"""The report: page, tables and figures. It reads files alone."""

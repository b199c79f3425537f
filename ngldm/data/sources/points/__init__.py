"""Points from tables and from laws that are known exactly."""

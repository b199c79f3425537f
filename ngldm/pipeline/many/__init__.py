"""A command on several processes."""

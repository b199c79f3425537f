"""The study: its jobs planned from the params, computed one by one, and run in several processes."""

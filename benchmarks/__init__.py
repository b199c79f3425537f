"""Ours against what users would use instead: the same work, in one run, on one machine."""

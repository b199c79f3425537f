"""Kills at many moments of a small pipeline: `python -m tests.faults.campaign`."""

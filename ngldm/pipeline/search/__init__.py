"""The search for the best settings of each noise: a space, shared storage, workers, results."""

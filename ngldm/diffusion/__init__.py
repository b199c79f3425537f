"""The forward process, its schedules, and what the network learns to predict."""

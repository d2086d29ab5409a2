"""The simulated clients, each part alone."""

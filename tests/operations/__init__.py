"""Real Prometheus against the admin listener: `make test-operations` runs these tests."""

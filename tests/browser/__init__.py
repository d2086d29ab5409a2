"""A real browser against the front door: `make test-browser` runs these tests."""

"""Unit tests of the package reservations."""

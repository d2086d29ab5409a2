"""Unit tests of the package observability."""

"""Unit tests of the package conformance; tests/conformance plays it against backends."""

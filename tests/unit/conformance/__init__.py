"""Unit tests of the package conformance. tests/conformance runs the kit against backends."""

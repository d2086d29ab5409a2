"""Unit tests of the package http."""

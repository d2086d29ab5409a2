"""Unit tests of the package `backends`."""

"""Unit tests of the package `backends.http`."""

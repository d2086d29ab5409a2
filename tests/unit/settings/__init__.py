"""Unit tests of the package `settings`."""

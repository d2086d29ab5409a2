"""Unit tests of the package commands; tests/e2e runs the commands as they are typed."""

"""Unit tests of the package `commands`; tests/e2e runs the commands as a user types them."""

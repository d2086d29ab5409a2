"""Tests of the documentation: it is true, it is complete, and its links work."""

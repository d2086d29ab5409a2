"""Tests of the Python backend stub."""

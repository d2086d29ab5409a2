"""Tests of the benchmark: it runs, and its report says how much its figures are worth."""

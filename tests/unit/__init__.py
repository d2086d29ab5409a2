"""Tests of single modules. They use no servers and no network; files are real."""

"""Tests of single modules: no servers, no network, real files."""

"""Calls to one backend: send a request over gRPC and return the outcome."""

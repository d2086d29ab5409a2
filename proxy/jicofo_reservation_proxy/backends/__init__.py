"""Calls to one backend, over gRPC or HTTP: send a request and return the outcome."""

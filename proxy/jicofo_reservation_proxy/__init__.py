"""Answers the reservation requests of Jicofo and Prosody by calling a backend over gRPC or HTTP."""

__version__ = "0.1.0"

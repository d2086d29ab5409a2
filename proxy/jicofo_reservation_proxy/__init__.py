"""Answers the reservation requests of Jicofo and Prosody by calling a gRPC backend."""

__version__ = "0.1.0"

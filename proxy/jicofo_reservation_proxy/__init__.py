"""Answers the reservation API of Jicofo and Prosody by calling a gRPC backend."""

__version__ = "0.1.0"

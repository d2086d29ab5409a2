"""The reservation API of Jicofo and Prosody, answered by a gRPC backend."""

__version__ = "0.1.0"

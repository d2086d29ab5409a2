"""Backends that break the contract, each in one way, as real ones do.

There is a module for each file of cases. `Backend` is sound.
"""

from . import conflict, create, delete, denial, get, given_up, health, identity, repeat, times
from .backend import BACKENDS, Backend, serving

__all__ = [
    "BACKENDS",
    "Backend",
    "conflict",
    "create",
    "delete",
    "denial",
    "get",
    "given_up",
    "health",
    "identity",
    "repeat",
    "serving",
    "times",
]

"""Backends that break the contract. Each backend has one bug, as real backends have it.

There is a module for each file of cases. The class `Backend` has no bug.
"""

from . import (
    conflict,
    create,
    delete,
    denial,
    get,
    given_up,
    health,
    holders,
    identity,
    repeat,
    times,
)
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
    "holders",
    "identity",
    "repeat",
    "serving",
    "times",
]

"""What the figures were measured on: without it they say little."""

import importlib.metadata
import os
import platform

DISTRIBUTIONS = ("grpcio", "protobuf", "flask", "werkzeug", "waitress")


def describe() -> str:
    """Return cores, system, Python and the versions of what is on the path, in one line."""
    versions = [f"{name} {importlib.metadata.version(name)}" for name in DISTRIBUTIONS]
    return ", ".join(
        [
            f"{cores()} cores",
            f"{platform.system()} {platform.release().split('-')[0]} {platform.machine()}",
            f"{platform.python_implementation()} {platform.python_version()}",
            *versions,
        ]
    )


def cores() -> int:
    """Return the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

"""The machine and the versions that the figures come from; other machines give other figures."""

import importlib.metadata
import os
import platform

from benchmarks import contenders

DISTRIBUTIONS = ("grpcio", "protobuf", "flask", "werkzeug", "waitress")


def describe() -> str:
    """Return one line: the cores, the system, Python, and the versions of the libraries."""
    used = [*DISTRIBUTIONS, *contenders.installed()]
    versions = [f"{name} {importlib.metadata.version(name)}" for name in used]
    return ", ".join(
        [
            f"{cores()} cores",
            f"{platform.system()} {platform.release().split('-')[0]} {platform.machine()}",
            f"{platform.python_implementation()} {platform.python_version()}",
            *versions,
        ]
    )


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

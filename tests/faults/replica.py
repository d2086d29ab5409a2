"""The part of a replica of the backend that does not depend on how the proxy calls it."""

import argparse
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .store import Failure, Method, Store

READY = "serving"
"""The line that a backend prints when it accepts calls."""

LOOK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Simulation:
    """The failure of one call, "" for none; `seconds` is `None` until the store recovers."""

    failure: Failure | Literal[""]
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Replica:
    """A replica, and the store that it shares with the others and with the test."""

    store: Store
    name: str

    def begin(self, method: Method, subject: str) -> Simulation:
        """Record that a call arrived, and return its failure."""
        self.store.note_call(self.name, method, subject)
        return self.simulation(method)

    def simulation(self, method: Method) -> Simulation:
        """Return the failure of the calls of a method now."""
        return Simulation(*(self.store.failure(self.name, method) or ("", 0.0)))

    def wait(self, method: Method, simulation: Simulation) -> None:
        """Wait for the seconds of a failure, or until the store no longer has this failure."""
        if simulation.seconds is not None:
            threading.Event().wait(simulation.seconds)
            return
        while self.simulation(method) == simulation:
            threading.Event().wait(LOOK_SECONDS)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the arguments that all backends have."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--address", required=True)
    parser.add_argument("--replica", default="a")
    return parser

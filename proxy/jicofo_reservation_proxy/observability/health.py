"""The health of the parts of the proxy: which ones work, since when, and why not.

Each part is a component. A component that fails or recovers logs one line, with the time that it
had failed. No other code logs such changes.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from jicofo_reservation_proxy.clock import now_ms
from jicofo_reservation_proxy.text_rules import format_period

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ComponentState:
    """The state of a component. `since_ms` is the time of day of its last change.

    `reason` says why it is not well; of a component that is well, it is "" or a remark.
    """

    name: str
    is_well: bool
    reason: str
    since_ms: int


@dataclass(frozen=True, slots=True)
class Words:
    """The words of the log lines about a component.

    `subject` is what the lines are about; "" means the name of the component. `level` is the level
    of the line about a failure. With `tells_each_reason`, a failure for another reason than before
    logs another line. `remark` is the reason until the component fails or works for the first time.
    """

    failed: str = "lost"
    recovered: str = "back"
    subject: str = ""
    level: int = logging.WARNING
    tells_each_reason: bool = False
    remark: str = ""


class HasState(Protocol):
    """A part of the proxy that knows its own state, and logs its own changes."""

    @property
    def name(self) -> str:
        """The name, which no other part has."""

    @property
    def state(self) -> ComponentState:
        """The state now."""


class Component:
    """One part of the proxy, which is well until it fails. All threads may use it.

    A part of the proxy may have several sources of failures, such as the tables of the ledger. It
    is well again when all of them have recovered.
    """

    def __init__(
        self, name: str, words: Words, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = name
        self._words = words
        self._clock = clock
        self._lock = threading.Lock()
        self._failures: dict[str, str] = {}
        self._failed_at = 0.0
        self._is_settled = not words.remark
        """Whether `recover` changes nothing. Each request calls it, so it must be cheap."""
        self._state = ComponentState(name, is_well=True, reason=words.remark, since_ms=now_ms())

    @property
    def state(self) -> ComponentState:
        """The state now."""
        return self._state

    def fail(self, reason: str, source: str = "") -> None:
        """Note that the component fails, and why. `reason` is not a secret."""
        if self._failures.get(source) == reason:
            return
        with self._lock:
            was_well = not self._failures
            is_new = self._failures.get(source) != reason
            self._failures[source] = reason
            self._is_settled = False
            if was_well:
                self._failed_at = self._clock()
            self._note(self._state.since_ms if not was_well else now_ms())
            if was_well or (is_new and self._words.tells_each_reason):
                self._log(self._words.level, f"{self._words.failed}: {reason}")

    def recover(self, source: str = "") -> None:
        """Note that the component works."""
        if self._is_settled:
            return
        with self._lock:
            had_failed = bool(self._failures)
            self._failures.pop(source, None)
            if self._failures:
                self._note(self._state.since_ms)
                return
            if not self._is_settled:
                self._is_settled = True
                self._note(now_ms())
            if had_failed:
                period = format_period(self._clock() - self._failed_at)
                self._log(logging.WARNING, f"{self._words.recovered} after {period}")

    def _note(self, since_ms: int) -> None:
        reason = next(reversed(self._failures.values()), "")
        self._state = ComponentState(
            self.name, is_well=not self._failures, reason=reason, since_ms=since_ms
        )

    def _log(self, level: int, change: str) -> None:
        logger.log(level, "%s: %s", self._words.subject or self.name, change)


class Health:
    """The components of one proxy, by name. All threads may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._components: dict[str, Component] = {}
        self._others: dict[str, HasState] = {}

    def component(self, name: str, words: Words | None = None) -> Component:
        """Return the component of this name; make it if there is none."""
        with self._lock:
            found = self._components.get(name)
            if found is None:
                found = self._components[name] = Component(name, words or Words())
            return found

    def add(self, part: HasState) -> None:
        """Add a part that was made elsewhere."""
        with self._lock:
            self._others[part.name] = part

    def forget(self, name: str) -> None:
        """Remove a component, and those whose names begin with its name and a dot."""
        with self._lock:
            for key in list(self._components):
                if key == name or key.startswith(f"{name}."):
                    del self._components[key]

    def states(self) -> list[ComponentState]:
        """Return the states of all parts, in the order of their creation."""
        with self._lock:
            parts: list[HasState] = [*self._components.values(), *self._others.values()]
        return [part.state for part in parts]

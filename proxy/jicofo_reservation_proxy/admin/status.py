"""The status of the proxy as values, for the page, the JSON and the terminal.

snapshot.py takes it. Every room and every id in it may be shown: they are masked if the setting
`mask_rooms` says so.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jicofo_reservation_proxy.text_rules import format_time

from .settings_in_effect import Setting


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong, with what to do. `since_ms` is when the proxy first saw it."""

    what: str
    since_ms: int


@dataclass(frozen=True, slots=True)
class Part:
    """A component of the proxy: whether it works, and why not."""

    name: str
    is_well: bool
    reason: str
    since_ms: int


@dataclass(frozen=True, slots=True)
class BackendView:
    """A backend. `last_answer_ms` and `latency_ms` are of its last call that succeeded, or `None`.

    `state` is "reachable", "lost" or "unknown": not called yet.
    """

    name: str
    target: str
    is_well: bool
    state: str
    reason: str
    since_ms: int
    is_circuit_open: bool
    in_flight: int
    last_answer_ms: int | None
    latency_ms: float | None
    pending_deletions: int


@dataclass(frozen=True, slots=True)
class CertificateView:
    """A certificate in use: the setting that names its file, and its end."""

    key: str
    ends_ms: int
    days_left: int


@dataclass(frozen=True, slots=True)
class DeletionView:
    """A pending or abandoned deletion, and why the last attempt at its backend failed."""

    id: str
    room: str
    backend: str
    state: str
    since_ms: int
    attempts: int
    reason: str


@dataclass(frozen=True, slots=True)
class RequestView:
    """A request; in flight, its `outcome` is "in flight" and its `status` is 0."""

    at_ms: int
    operation: str
    client: str
    room: str
    id: str
    backend: str
    outcome: str
    status: int
    ms: float
    incident: str
    reason: str


@dataclass(frozen=True, slots=True)
class RefusalView:
    """The refusals of one kind at the door."""

    kind: str
    number: int
    first_ms: int
    last_ms: int
    peer: str
    reason: str


@dataclass(frozen=True, slots=True)
class WarningView:
    """A line of the log."""

    at_ms: int
    level: str
    text: str


@dataclass(frozen=True, slots=True)
class Status:
    """The status. `summary` is one sentence; `problems` has the oldest problem first."""

    is_well: bool
    summary: str
    at_ms: int
    version: str
    started_ms: int
    is_ready: bool
    masks_rooms: bool
    settings_hash: str
    problems: Sequence[Problem]
    parts: Sequence[Part]
    backends: Sequence[BackendView]
    certificates: Sequence[CertificateView]
    conferences: Mapping[str, int]
    deletions: Sequence[DeletionView]
    in_flight: Sequence[RequestView]
    refusals: Sequence[RefusalView]
    requests: Sequence[RequestView]
    warnings: Sequence[WarningView]
    settings: Sequence[Setting]


def to_json(status: Status) -> dict[str, Any]:
    """Return the status as JSON; a key that ends in `_ms` and is a time becomes RFC 3339."""
    found: dict[str, Any] = _jsonable(dataclasses.asdict(status))
    return found


_TIMES = {"at_ms", "since_ms", "first_ms", "last_ms", "started_ms", "last_answer_ms", "ends_ms"}


def _jsonable(value: Any) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(value, dict):
        return dict(_pair(key, item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    return value


def _pair(key: str, value: Any) -> tuple[str, Any]:  # noqa: ANN401 - any JSON
    if key in _TIMES:
        return key.removesuffix("_ms"), value if value is None else format_time(value)
    return key, _jsonable(value)

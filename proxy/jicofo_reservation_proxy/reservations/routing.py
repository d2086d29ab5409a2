"""Routing: the tenant and the name of a room decide to which backend the room belongs."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fnmatch import translate

from jicofo_reservation_proxy.model import Room
from jicofo_reservation_proxy.regexes import Pattern, compile_regex
from jicofo_reservation_proxy.settings.schema import Route

DEFAULT_BACKEND = "default"


@dataclass(frozen=True, slots=True)
class _Rule:
    tenant: Pattern | None
    room: Pattern | None
    backend: str

    def matches(self, room: Room) -> bool:
        return _fits(self.tenant, room.tenant) and _fits(self.room, room.name)


class Router:
    """The routes of the settings, compiled.

    Matching ignores case, because room names ignore case (RFC 7622, section 3.3). If there are no
    routes and only one backend, every room belongs to that backend. Otherwise, a room that matches
    no route belongs to the backend named "default". Without such a backend, the room has no
    backend.
    """

    def __init__(self, routes: Sequence[Route], backends: Collection[str]) -> None:
        self._rules = tuple(_compile(route) for route in routes)
        self._otherwise = _otherwise(routes, backends)

    def backend_of(self, room: Room) -> str | None:
        """Return the name of the backend of a room; `None` if the room has no backend."""
        for rule in self._rules:
            if rule.matches(room):
                return rule.backend
        return self._otherwise


def _otherwise(routes: Sequence[Route], backends: Collection[str]) -> str | None:
    if not routes and len(backends) == 1:
        return next(iter(backends))
    return DEFAULT_BACKEND if DEFAULT_BACKEND in backends else None


def _compile(route: Route) -> _Rule:
    return _Rule(
        tenant=_pattern(route.tenant, route.tenant_regex),
        room=_pattern(route.room, route.room_regex),
        backend=route.backend,
    )


def _pattern(glob: str | None, regex: str | None) -> Pattern | None:
    if glob is not None:
        # `translate` makes expressions that `re` matches without backtracking.
        return re.compile(translate(glob), re.IGNORECASE)
    return compile_regex(regex) if regex is not None else None


def _fits(pattern: Pattern | None, text: str) -> bool:
    return pattern is None or pattern.fullmatch(text) is not None

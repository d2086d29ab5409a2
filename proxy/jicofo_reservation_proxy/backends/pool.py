"""The backends in use: those in the settings, and removed ones that still have conferences.

A reload changes the backends while requests are in flight and deletions are pending:

- A backend whose settings are unchanged stays the same object, with its connection and its circuit.
- A backend that is replaced, and a removed one without conferences, is retired: no new request
  finds it, and its connection closes after the last request that may use it has ended.
- A removed backend with conferences stays until they are gone: clients still send DELETEs.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import NamedTuple, Protocol

from jicofo_reservation_proxy.certificates import CertificateEnd
from jicofo_reservation_proxy.errors import CollectedFaults
from jicofo_reservation_proxy.settings.schema import Backend as BackendSettings
from jicofo_reservation_proxy.settings.schema import BackendName

from .backend import Backend
from .backend_status import BackendState

RETIRE_SECONDS = 40.0
"""How long a retired backend stays open. A request takes at most `respond_within` (18 s at most),
and a call for a deletion at most `answer_within` (15 s at most)."""

logger = logging.getLogger(__name__)


class WatchedBackend(Backend, Protocol):
    """A backend whose status is known."""

    @property
    def state(self) -> BackendState:
        """The status of the backend now."""

    def probe_if_idle(self) -> None:
        """Make a harmless call if there was none for some time. Raises nothing."""


class Connection(Protocol):
    """The connection to a backend, with its credentials (`credential_rotation.Rotation`)."""

    @property
    def certificates(self) -> list[CertificateEnd]:
        """When the certificates in use end."""

    def refresh(self) -> None:
        """Use the newest credentials. Raises nothing."""

    def close(self) -> None:
        """Close the connection. This cancels the calls in flight."""


class Member(NamedTuple):
    """A backend with its settings and its connection."""

    settings: BackendSettings
    connection: Connection
    backend: WatchedBackend


class Changes(NamedTuple):
    """The names of the backends that a reload has added, replaced and removed."""

    added: Sequence[str]
    replaced: Sequence[str]
    removed: Sequence[str]


class BackendPool(Mapping[str, Backend]):
    """The backends by name; the names and the backends may change at any time.

    `connect` makes a backend from its name and its settings. It raises `CredentialsError` and
    `SettingsError`. `has_conferences` says whether the proxy still needs a removed backend, and
    `forget` is called with the name of a backend that is not in the pool any more. `clock` counts
    seconds from an arbitrary start.
    """

    def __init__(
        self,
        connect: Callable[[str, BackendSettings], Member],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connect = connect
        self._clock = clock
        self._members: dict[str, Member] = {}
        self._removed_at: dict[str, float] = {}
        self._retired: list[tuple[Member, float]] = []
        self.changing = threading.RLock()
        """Held during each change. A reload holds it from `prepare` on until all other parts know
        the new backends: otherwise `refresh` might close a backend that comes back."""
        self.has_conferences: Callable[[str], bool] = lambda _name: False
        self.forget: Callable[[str], None] = lambda _name: None

    def __getitem__(self, name: str) -> Backend:
        return self._members[name].backend

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    @property
    def members(self) -> Mapping[str, Member]:
        """The backends with their settings and connections; a later change makes another dict."""
        return self._members

    def is_removed(self, name: str) -> bool:
        """Return whether a backend of the pool is not in the settings any more."""
        return name in self._removed_at

    def prepare(self, wanted: Mapping[BackendName, BackendSettings]) -> dict[str, Member]:
        """Return the backends of new settings: the known ones if unchanged, otherwise new ones.

        Raises `CredentialsError` with all faults, or the `SettingsError` of `connect`. Then nothing
        is left open.
        """
        prepared: dict[str, Member] = {}
        with ExitStack() as opened:
            with CollectedFaults() as faults:
                for name, settings in wanted.items():
                    known = self._members.get(name)
                    if known is not None and known.settings == settings:
                        prepared[name] = known
                        continue
                    with faults.collect():
                        prepared[name] = self._connect(name, settings)
                        opened.callback(prepared[name].connection.close)
            opened.pop_all()
        return prepared

    def discard(self, prepared: Mapping[str, Member]) -> None:
        """Close the new ones of the backends that `prepare` returned: they are not used."""
        for name, member in prepared.items():
            if self._members.get(name) is not member:
                member.connection.close()

    def use(self, prepared: Mapping[str, Member]) -> Changes:
        """Use the backends that `prepare` returned; return what has changed.

        A removed backend stays in the pool until `refresh` finds that it is not needed any more.
        The caller holds `changing` since before it called `prepare`.
        """
        before, now = self._members, self._clock()
        replaced = [name for name in prepared if before.get(name, prepared[name]) != prepared[name]]
        self._retired += [(before[name], now + RETIRE_SECONDS) for name in replaced]
        removed = [name for name in before.keys() - prepared.keys() if not self.is_removed(name)]
        for name in removed:
            self._removed_at[name] = now
        for name in prepared:
            self._removed_at.pop(name, None)
        self._members = {**before, **prepared}
        return Changes(sorted(prepared.keys() - before.keys()), replaced, sorted(removed))

    def refresh(self) -> None:
        """Refresh the credentials of all backends, and close what nobody uses any more."""
        for member in list(self._members.values()):
            member.connection.refresh()
        with self.changing:
            self._drop_unused()

    def _drop_unused(self) -> None:
        now = self._clock()
        for name, removed_at in list(self._removed_at.items()):
            if now >= removed_at + RETIRE_SECONDS and not self.has_conferences(name):
                self._drop(name)
        due = [entry for entry in self._retired if entry[1] <= now]
        self._retired = [entry for entry in self._retired if entry[1] > now]
        for member, _ in due:
            member.connection.close()

    def close(self) -> None:
        """Close all connections. This cancels the calls in flight."""
        for member in (*self._members.values(), *(member for member, _ in self._retired)):
            member.connection.close()
        self._retired = []

    def _drop(self, name: str) -> None:
        """Remove a backend for good. A request may have found it just before."""
        del self._removed_at[name]
        self._retired.append((self._members[name], self._clock() + RETIRE_SECONDS))
        self._members = {other: kept for other, kept in self._members.items() if other != name}
        self.forget(name)
        logger.info(
            "backends.%s: it is not in the settings any more and has no conferences: closed", name
        )

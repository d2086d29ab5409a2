"""Take the status of the proxy: what is wrong now, and everything that an operator needs to see."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Protocol

from jicofo_reservation_proxy import __version__
from jicofo_reservation_proxy.backends.backend_status import BackendState
from jicofo_reservation_proxy.certificates import CertificateEnd
from jicofo_reservation_proxy.clock import now_ms
from jicofo_reservation_proxy.http.recent_requests import RecentRequests, SeenRequest
from jicofo_reservation_proxy.http.refusals import Refusal, Refusals, SeenRefusals
from jicofo_reservation_proxy.ids import encode
from jicofo_reservation_proxy.ledger.figures import LedgerFigures
from jicofo_reservation_proxy.ledger.ledger import Ledger
from jicofo_reservation_proxy.ledger.records import Record, RecordState
from jicofo_reservation_proxy.model import Fault, FaultKind
from jicofo_reservation_proxy.observability import logs
from jicofo_reservation_proxy.observability.health import ComponentState, Health
from jicofo_reservation_proxy.reservations.deletion_delivery import Delivery
from jicofo_reservation_proxy.settings.health import SettingsHealth
from jicofo_reservation_proxy.settings.origins import Origins
from jicofo_reservation_proxy.settings.reloader import Reloader
from jicofo_reservation_proxy.settings.schema import Settings

from .masking import Masking
from .reasons import FAULT_REASONS, reason_of, reason_of_fault
from .settings_in_effect import settings_in_effect
from .status import (
    BackendView,
    CertificateView,
    DeletionView,
    Part,
    Problem,
    RefusalView,
    RequestView,
    Status,
    WarningView,
)

MAX_DELETIONS = 50
"""The status lists this many pending deletions of each backend, the oldest ones."""

OLD_DELETION_MS = 60_000
"""A deletion that is pending for longer is a problem; usually it takes a second."""

DAY_MS = 86_400_000
MIN_DAYS = 7
"""A certificate that ends within this many days is a problem."""

RECENT_MS = 600_000
"""A refusal at the door is a problem for this long after the last one."""

_OF_OUR_CLIENTS = {
    Refusal.TOKEN,
    Refusal.TLS_TO_PLAIN_PORT,
    Refusal.PLAIN_TO_TLS_PORT,
    Refusal.TLS_HANDSHAKE,
    Refusal.HOST,
}
"""The refusals that a Jitsi with a wrong setting causes."""

DOOR_PROBLEMS: Mapping[Refusal, str] = {
    Refusal.TOKEN: "A request came without a valid client token: give the client a token of "
    "client_token_file. Until then its rooms fail, and a refused DELETE leaves its room held.",
    Refusal.TLS_TO_PLAIN_PORT: "The base URL of a client begins with https://, but this port "
    "speaks plain HTTP: change it to http:// (Prosody: reservations_api_prefix), or set "
    "listen_tls.",
    Refusal.PLAIN_TO_TLS_PORT: "The base URL of a client begins with http://, but this port speaks "
    "TLS: change it to https://.",
    Refusal.TLS_HANDSHAKE: "The TLS handshake with a client failed: check that it trusts the "
    "certificate of listen_tls.",
    Refusal.HOST: "A client uses a name that is not in allowed_hosts: add the name if the client "
    "is yours.",
}


class Source(Protocol):
    """The parts of a proxy that the status is taken from."""

    health: Health
    refusals: Refusals
    ledger: Ledger
    delivery: Delivery
    reloader: Reloader
    origins: Origins
    started_ms: int
    figures: LedgerFigures

    @property
    def requests(self) -> RecentRequests:
        """The last requests, and those in flight."""

    @property
    def settings(self) -> Settings:
        """The settings in effect."""

    @property
    def backend_states(self) -> Sequence[BackendState]:
        """The state of each backend."""

    @property
    def certificates(self) -> Sequence[CertificateEnd]:
        """The certificates in use."""

    @property
    def targets(self) -> Mapping[str, str]:
        """The address of each backend."""

    @property
    def is_ready(self) -> Any:  # noqa: ANN401 - a function that returns bool
        """Whether the proxy listens and is not stopping."""


def take(proxy: Source) -> Status:
    """Return the status now. It may wait for the lock of the ledger, and never for the disk."""
    return _Snapshot(proxy).status()


class _Snapshot:
    """Takes the status; all its parts are of about the same moment."""

    def __init__(self, proxy: Source) -> None:
        self._proxy = proxy
        self._now = now_ms()
        self._masking = Masking(is_on=proxy.settings.mask_rooms)
        self._last = proxy.requests.last()
        self._in_flight = proxy.requests.in_flight()
        self._states = proxy.health.states()
        self._refusals = proxy.refusals.seen()
        self._backend_states = list(proxy.backend_states)
        names = [state.name for state in self._backend_states]
        self._strangers = proxy.figures.read().pending.keys() - set(names)
        self._pending = {
            name: proxy.ledger.pending(name) for name in (*names, *sorted(self._strangers))
        }

    def status(self) -> Status:
        proxy = self._proxy
        problems = sorted(self._problems(), key=lambda problem: problem.since_ms)
        state = proxy.reloader.state
        return Status(
            is_well=not problems,
            summary=_summary(problems),
            at_ms=self._now,
            version=__version__,
            started_ms=proxy.started_ms,
            is_ready=bool(proxy.is_ready()),
            masks_rooms=self._masking.is_on,
            settings_hash=state.hash,
            problems=problems,
            parts=[self._part(found) for found in self._states],
            backends=[self._backend(state) for state in self._backend_states],
            certificates=[self._certificate(end) for end in proxy.certificates],
            conferences={key.value: count for key, count in proxy.ledger.counts.items()},
            deletions=list(self._deletions()),
            in_flight=[self._request(seen) for seen in self._in_flight],
            refusals=[self._refusal(seen) for seen in self._refusals],
            requests=[self._request(seen) for seen in self._last],
            warnings=[self._warning(found) for found in logs.recent_warnings()],
            settings=settings_in_effect(proxy.settings, proxy.origins),
        )

    def _problems(self) -> Iterator[Problem]:
        # A failed reload has a sentence of its own below.
        known = {SettingsHealth.name}
        for name in self._pending:
            if problem := self._failing(name):
                known.add(f"backends.{name}")
                yield problem
        for found in self._states:
            if not found.is_well and found.name not in known:
                advice = f"{FAULT_REASONS[FaultKind.STATE]} " if found.name == "ledger" else ""
                what = f"{found.name}: {advice}{self._reason(found)}"
                yield Problem(what, found.since_ms)
        for seen in self._refusals:
            if seen.kind in _OF_OUR_CLIENTS and seen.last_ms > self._now - RECENT_MS:
                what = f"{DOOR_PROBLEMS[seen.kind]} (last from {seen.peer}, {seen.number} in all)"
                yield Problem(what, seen.first_ms)
        yield from self._late_deletions()
        for end in self._proxy.certificates:
            if (days_left := (end.ends_at_ms - self._now) // DAY_MS) < MIN_DAYS:
                left = "has expired" if days_left < 0 else f"ends in {days_left} days"
                yield Problem(f"{end.key}: the certificate {left}: replace it.", self._now)
        if self._proxy.reloader.state.has_failed:
            failed_ms = self._proxy.reloader.state.last_failed_ms or self._now
            what = "The last reload failed, and the settings before it are in effect: "
            yield Problem(what + "; ".join(self._proxy.reloader.state.faults), failed_ms)

    def _failing(self, backend: str) -> Problem | None:
        """Return the fault in which the last requests of a backend ended."""
        failed: list[SeenRequest] = []
        for seen in self._last:
            if _blamed(seen) == backend:
                failed.append(seen)
            elif _is_answer(seen, backend):
                break
        if not failed:
            return None
        reason = reason_of(failed[0], shows_texts=not self._masking.is_on)
        return Problem(f"backends.{backend}: {reason}", self._at(failed[-1]))

    def _late_deletions(self) -> Iterator[Problem]:
        for name, records in self._pending.items():
            if name in self._strangers:
                yield self._stranger(name, len(records))
                continue
            oldest = next(iter(records), None)
            since_ms = (oldest and oldest.over_at_ms) or self._now
            fault = self._proxy.delivery.deletions.last_fault(name)
            if oldest is None or (fault is None and since_ms > self._now - OLD_DELETION_MS):
                continue
            why = self._fault(fault) or "They are not sent yet."
            yield Problem(
                f"backends.{name}: {_deletions(len(records))} pending, so the rooms stay held at "
                f"the backend. {why} (see also: ledger pending)",
                since_ms,
            )
        if number := self._proxy.ledger.counts[RecordState.ABANDONED]:
            yield Problem(
                f"{_deletions(number)} abandoned: `ledger abandoned` lists them, and `ledger retry "
                "ID` tries one again.",
                self._now,
            )

    def _stranger(self, name: str, number: int) -> Problem:
        """Return the problem of deletions that nobody delivers."""
        since_ms = self._proxy.figures.read().oldest_pending_ms.get(name, self._now)
        return Problem(
            f"backends.{name}: {_deletions(number)} pending, and the backend is not in the "
            "settings: add it again, or abandon them (ledger abandon ID).",
            since_ms,
        )

    def _fault(self, fault: Fault | None) -> str:
        return reason_of_fault(fault, shows_texts=not self._masking.is_on) if fault else ""

    def _reason(self, found: ComponentState) -> str:
        if found.is_well or not found.name.startswith("backends."):
            return found.reason
        for state in self._backend_states:
            if found.name == f"backends.{state.name}" and state.state == "lost":
                return self._backend_reason(state)
        return self._masking.text(found.reason)

    def _part(self, found: ComponentState) -> Part:
        return Part(found.name, found.is_well, self._reason(found), found.since_ms)

    def _backend(self, state: BackendState) -> BackendView:
        name = state.name
        problem = self._failing(name)
        is_well = problem is None and state.state != "lost"
        latency = state.latency_seconds
        return BackendView(
            name,
            self._proxy.targets.get(name, ""),
            is_well,
            state.state,
            problem.what if problem else self._backend_reason(state),
            problem.since_ms if problem else state.since_ms,
            state.is_circuit_open,
            state.in_flight,
            state.last_success_ms,
            None if latency is None else round(1000 * latency, 1),
            len(self._pending[name]),
        )

    def _backend_reason(self, state: BackendState) -> str:
        return state.reason if state.fault is None else self._fault(state.fault)

    def _certificate(self, end: CertificateEnd) -> CertificateView:
        days_left = (end.ends_at_ms - self._now) // DAY_MS
        return CertificateView(end.key, end.ends_at_ms, days_left)

    def _deletions(self) -> Iterator[DeletionView]:
        for records in self._pending.values():
            for record in islice(records, MAX_DELETIONS):
                yield self._deletion(record)

    def _deletion(self, record: Record) -> DeletionView:
        deletions = self._proxy.delivery.deletions
        return DeletionView(
            self._masking.name(encode(record.ref)),
            self._masking.name(record.room),
            record.ref.backend,
            record.state.value,
            record.over_at_ms or 0,
            deletions.attempts(record.ref),
            self._fault(deletions.last_fault(record.ref.backend)),
        )

    def _request(self, seen: SeenRequest) -> RequestView:
        handled = seen.handled
        outcome = type(handled.reply).__name__.lower() if handled else "in flight"
        seconds = seen.age_seconds if seen.seconds is None else seen.seconds
        return RequestView(
            self._at(seen),
            seen.operation,
            seen.client,
            self._masking.name(seen.subject.get("room", "")),
            self._masking.name(seen.subject.get("id", "")),
            handled.backend if handled else "",
            "fault" if seen.status and not handled else outcome,
            seen.status,
            round(1000 * seconds, 1),
            seen.incident_id,
            reason_of(seen, shows_texts=not self._masking.is_on),
        )

    def _refusal(self, seen: SeenRefusals) -> RefusalView:
        detail = "" if self._masking.is_on or not seen.detail else f": {seen.detail}"
        sentence = f"{seen.explanation[0].upper()}{seen.explanation[1:]}{detail}."
        return RefusalView(
            seen.kind.value, seen.number, seen.first_ms, seen.last_ms, seen.peer, sentence
        )

    def _warning(self, found: logs.Warned) -> WarningView:
        return WarningView(int(1000 * found.at), found.level, self._masking.warned(found))

    def _at(self, seen: SeenRequest) -> int:
        return self._now - int(1000 * seen.age_seconds)


def _blamed(seen: SeenRequest) -> str | None:
    """Return the backend that failed; `None` if none failed. The ledger is a component."""
    handled = seen.handled
    if handled is None or not isinstance(handled.reply, Fault):
        return None
    return None if handled.reply.kind is FaultKind.STATE else handled.backend or None


def _is_answer(seen: SeenRequest, backend: str) -> bool:
    handled = seen.handled
    if handled is None or handled.backend != backend or isinstance(handled.reply, Fault):
        return False
    return handled.code != "" and not handled.source


def _summary(problems: Sequence[Problem]) -> str:
    if not problems:
        return "All is well."
    more = len(problems) - 1
    others = "" if not more else f" And {more} more problem{'s' if more > 1 else ''}."
    return f"{problems[0].what}{others}"


def _deletions(number: int) -> str:
    """Return "1 deletion is" or "2 deletions are", for a sentence."""
    return "1 deletion is" if number == 1 else f"{number} deletions are"

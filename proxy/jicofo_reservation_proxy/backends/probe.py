"""Whether a backend can be used: one harmless question to it, and what the answer means."""

import time
from dataclasses import dataclass

from jicofo_reservation_proxy.ids import new_incident_id
from jicofo_reservation_proxy.model import Fault, FaultKind

from .backend import PROBE_ID, Backend


@dataclass(frozen=True, slots=True)
class Probe:
    """What came of asking a backend. `fault` is `None` where it can be used."""

    backend: str
    verdict: str
    fault: FaultKind | None


def probe(name: str, backend: Backend) -> Probe:
    """Ask a backend for a conference that does not exist.

    NOT_FOUND proves the way there and back: the address, TLS, credentials and the method's path.
    """
    started = time.perf_counter()
    result = backend.get(PROBE_ID, new_incident_id(), float("inf"))
    milliseconds = (time.perf_counter() - started) * 1000
    match result.outcome:
        case Fault(code="UNIMPLEMENTED"):
            verdict = "ok, reached, but it has no GetConference, which it may leave out"
            return Probe(name, verdict, None)
        case Fault(kind, code, detail):
            verdict = f"{kind.value} after {milliseconds:.0f} ms: {code} {detail}"
            return Probe(name, verdict, kind)
        case _:
            verdict = f"ok, answered in {milliseconds:.0f} ms"
            return Probe(name, verdict, None)

"""Probe a backend for `check`: make one harmless call and judge the answer."""

import time
from dataclasses import dataclass

from jicofo_reservation_proxy.ids import new_incident_id
from jicofo_reservation_proxy.model import Fault, FaultKind

from .backend import PROBE_ID, Backend
from .grpc.misdirected_calls import is_from_http

_IS_HTTP_1 = "Failed parsing HTTP/2"
"""Words in the text of gRPC about a server that speaks HTTP/1."""


@dataclass(frozen=True, slots=True)
class Probe:
    """The result of a probe. `fault` is `None` when the backend is usable."""

    backend: str
    verdict: str
    fault: FaultKind | None


def probe(name: str, backend: Backend, *, is_xds: bool) -> Probe:  # noqa: PLR0911 - a table
    """Read a conference that does not exist.

    NOT_FOUND (over HTTP, 404 with a JSON object) proves that the address, TLS, the credentials and
    the path are right. Another HTTP status only proves that a server listens there. `is_xds`
    says whether a control plane names the addresses of the backend.
    """
    started = time.perf_counter()
    result = backend.get(PROBE_ID, new_incident_id(), float("inf"))
    milliseconds = (time.perf_counter() - started) * 1000
    match result.outcome:
        case Fault() as fault if is_from_http(fault):
            verdict = (
                "wanted an answer of a gRPC server, got one of an HTTP server "
                f"({fault.detail}); check the target, and the routes of the ingress before it"
            )
            return Probe(name, verdict, fault.kind)
        case Fault(code="UNIMPLEMENTED", detail=detail):
            verdict = (
                f"ok, it answered UNIMPLEMENTED ({detail}): it does not implement GetConference, "
                "which is optional; if it does, another service listens at this target"
            )
            return Probe(name, verdict, None)
        case Fault(code="", detail=detail, kind=FaultKind.BROKEN):
            return Probe(name, f"ok, not asked: {detail}", None)
        case Fault(code=code, kind=kind, detail=detail) if code.isdecimal() and code[0] == "3":
            verdict = (
                f"wanted an answer, got a redirect ({code}: {detail}), which the proxy does not "
                "follow; put the URL that it leads to into the target"
            )
            return Probe(name, verdict, kind)
        case Fault(kind=FaultKind.BROKEN, code=code, detail=detail) if code.isdecimal():
            verdict = (
                f"ok, an HTTP server answered {code} ({detail}) to a GET for an id that does not "
                "exist; wanted 404 with a JSON object, so this does not show that it is the "
                "backend: ask for a room with the command call"
            )
            return Probe(name, verdict, None)
        case Fault(kind=FaultKind.SLOW, code=code) as fault if is_xds:
            verdict = (
                f"{fault.kind.value} after {milliseconds:.0f} ms: {code}; wanted an answer of the "
                "backend, got none; perhaps the control plane does not know the name in the "
                "target, or the control plane itself does not answer: check the name, the "
                "bootstrap file in $GRPC_XDS_BOOTSTRAP, and the log of the control plane"
            )
            return Probe(name, verdict, fault.kind)
        case Fault(kind, code, detail):
            verdict = f"{kind.value} after {milliseconds:.0f} ms: {code} {detail}"
            if _IS_HTTP_1 in detail:
                verdict += "; if it is an HTTP backend, begin its target with http://"
            return Probe(name, verdict, kind)
        case _:
            verdict = f"ok, answered in {milliseconds:.0f} ms"
            return Probe(name, verdict, None)

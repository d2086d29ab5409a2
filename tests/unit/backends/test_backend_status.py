"""Which answers make a backend lost, and which ones bring it back."""

import grpc
import pytest
from jicofo_reservation_proxy.backends.backend_status import (
    IDLE,
    IDLE_SECONDS,
    LOST_SECONDS,
    BackendStatus,
    words,
)
from jicofo_reservation_proxy.backends.grpc.grpc_statuses import GrpcStatuses
from jicofo_reservation_proxy.observability.health import Component

CODE = grpc.StatusCode


class Refused(grpc.RpcError):
    """The error of a call."""

    def __init__(self, code: grpc.StatusCode, details: str = "words") -> None:
        super().__init__()
        self._code, self._details = code, details

    def code(self) -> grpc.StatusCode:
        """Return the status."""
        return self._code

    def details(self) -> str:
        """Return the text of the status."""
        return self._details

    def trailing_metadata(self) -> tuple[()]:
        """Return no details."""
        return ()


class Calls:
    """The status of a backend, with a clock of its own."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        component = Component("backends.default", words("backends.default"))
        self.status = BackendStatus("default", component, lambda: self.seconds)

    def fails(
        self,
        code: grpc.StatusCode,
        operation: str = "create",
        details: str = "words",
        *,
        is_fair: bool = True,
    ) -> str:
        """Make a call that fails; return the state afterwards."""
        self.seconds += 1
        started = self.seconds
        self.seconds += 1
        failure = GrpcStatuses().failure(operation, Refused(code, details))
        if failure is None:
            self.status.succeeded(operation, started)
        else:
            self.status.failed(operation, failure, started, is_fair=is_fair)
        return self.state

    def works(self, operation: str = "create") -> str:
        """Make a call that succeeds; return the state afterwards."""
        self.seconds += 1
        self.status.succeeded(operation, self.seconds)
        return self.state

    @property
    def state(self) -> str:
        """Whether the backend is reachable."""
        return self.status.state(is_circuit_open=False).state


@pytest.fixture
def calls() -> Calls:
    """Return the status of a backend that was not called yet."""
    return Calls()


def test_nothing_is_known_before_the_first_call(calls: Calls) -> None:
    """A backend that was not called is neither reachable nor lost."""
    found = calls.status.state(is_circuit_open=False)
    assert (found.state, found.last_success_ms, found.latency_seconds) == ("unknown", None, None)
    assert found.reason == "not called yet"


@pytest.mark.parametrize("operation", ["create", "get", "delete", "probe", IDLE])
@pytest.mark.parametrize("code", list(grpc.StatusCode))
def test_each_status(calls: Calls, operation: str, code: grpc.StatusCode) -> None:
    """A call that did not reach the service makes the backend lost; any answer brings it back."""
    lost = {CODE.UNAVAILABLE, CODE.DEADLINE_EXCEEDED, CODE.UNAUTHENTICATED, CODE.PERMISSION_DENIED}
    if operation == "create":
        lost |= {CODE.UNIMPLEMENTED}
    expected = "lost" if code in lost else "unknown" if code is CODE.CANCELLED else "reachable"
    assert calls.fails(code, operation) == expected
    if expected == "lost":
        assert calls.status.state(is_circuit_open=False).reason == f"{code.name}: words"
        assert calls.works() == "reachable"


def test_an_http_server_in_its_place(calls: Calls) -> None:
    """If an ingress answers 404, the backend is lost: no gRPC server answered."""
    details = "Received http2 header with status: 404"
    assert calls.fails(CODE.UNIMPLEMENTED, "get", details) == "lost"


def test_a_call_that_had_no_time_says_nothing(calls: Calls) -> None:
    """A request that had waited long gives its call little time; that is not the backend's."""
    assert calls.fails(CODE.DEADLINE_EXCEEDED, is_fair=False) == "unknown"


def test_one_failure_among_answers_says_nothing(calls: Calls) -> None:
    """While one call waits for a broken replica, others are answered: the backend is not lost."""
    started = calls.seconds
    assert calls.works() == "reachable"
    failure = GrpcStatuses().failure("create", Refused(CODE.UNAVAILABLE))
    assert failure
    calls.status.failed("create", failure, started, is_fair=True)
    assert calls.state == "reachable"


def test_a_read_that_is_refused_says_nothing_while_creates_work(calls: Calls) -> None:
    """Perhaps the backend lets nobody read, so a refused read does not make it lost."""
    calls.works()
    assert calls.fails(CODE.PERMISSION_DENIED, "get") == "reachable"
    assert calls.fails(CODE.PERMISSION_DENIED, IDLE) == "reachable"
    assert calls.fails(CODE.PERMISSION_DENIED, "create") == "lost"


def test_a_read_does_not_bring_back_a_backend_that_refuses_creates(calls: Calls) -> None:
    """Otherwise it would be lost and back with each request; an idle probe may bring it back."""
    calls.fails(CODE.UNAUTHENTICATED, "create")
    assert calls.works("get") == "lost"
    assert calls.works("probe") == "lost"
    assert calls.works(IDLE) == "reachable"


def test_an_outage_is_two_lines(calls: Calls, caplog: pytest.LogCaptureFixture) -> None:
    """However many calls fail."""
    calls.works()
    for _ in range(5):
        calls.fails(CODE.UNAVAILABLE)
    for _ in range(5):
        calls.works()
    lost, back = caplog.messages
    assert lost == "backends.default: lost: UNAVAILABLE: words"
    assert back.startswith("backends.default: back after ")


def test_calls_in_flight_and_the_latency(calls: Calls) -> None:
    """A call is in flight from its begin to its end; the latency is of the last success."""
    call = object()
    calls.status.begin(call, calls.seconds)
    assert calls.status.state(is_circuit_open=True).in_flight == 1
    calls.seconds += 2
    calls.status.succeeded("create", calls.seconds - 2)
    calls.status.end(call)
    found = calls.status.state(is_circuit_open=True)
    assert (found.in_flight, found.latency_seconds, found.is_circuit_open) == (0, 2.0, True)
    assert found.last_success_ms is not None


def test_when_a_probe_is_due(calls: Calls) -> None:
    """After a minute without a call, and sooner while the backend is lost; not during a call."""
    assert not calls.status.is_probe_due
    calls.seconds += IDLE_SECONDS
    assert calls.status.is_probe_due
    call = object()
    calls.status.begin(call, calls.seconds)
    calls.seconds += IDLE_SECONDS
    assert not calls.status.is_probe_due
    calls.status.end(call)
    calls.fails(CODE.UNAVAILABLE)
    calls.status.begin(call, calls.seconds)
    calls.status.end(call)
    calls.seconds += LOST_SECONDS
    assert calls.status.is_probe_due

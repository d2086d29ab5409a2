"""The circuit breaker of a backend, with a clock that only the tests move."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import pytest
from jicofo_reservation_proxy.backends.circuit_breaker import Circuit, CircuitOpenError

from tests.unit.ledgers import LONG_SECONDS, together

FAILURES = 3
OPEN_SECONDS = 5
OPENED = (
    "backends.default: the circuit is open: 3 calls in a row took too long; "
    "the proxy refuses calls to this backend and tries again in 5 s"
)
CLOSED = "backends.default: the circuit is closed: calls are answered in time again after 0s"


class Clock:
    """A clock in seconds that starts at an arbitrary time."""

    now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the clock of all circuits."""
    clock = Clock()
    monkeypatch.setattr("circuitbreaker.monotonic", clock)
    return clock


def new_circuit(is_failure: Callable[[BaseException], bool], name: str = "default") -> Circuit:
    """Return a closed circuit."""
    return Circuit(name, is_failure, failures=FAILURES, open_seconds=OPEN_SECONDS)


@pytest.fixture
def circuit(clock: Clock) -> Circuit:
    """Return a closed circuit that counts only time-outs as failures."""
    assert clock.now
    return new_circuit(lambda error: isinstance(error, TimeoutError))


def succeed(circuit: Circuit, *, counts: bool = True) -> None:
    """Make a call that succeeds."""
    with circuit.call(counts=counts):
        pass


def fail(circuit: Circuit, error: Exception | None = None, *, counts: bool = True) -> None:
    """Make a call that raises `error`, by default a `TimeoutError`."""
    raised = error or TimeoutError()
    with pytest.raises(type(raised)), circuit.call(counts=counts):
        raise raised


def is_refused(circuit: Circuit, *, counts: bool = True) -> bool:
    """Return whether the circuit refuses a call."""
    try:
        succeed(circuit, counts=counts)
    except CircuitOpenError:
        return True
    return False


def open_it(circuit: Circuit) -> None:
    """Let calls time out until the circuit is open."""
    for _ in range(FAILURES):
        fail(circuit)
    assert circuit.is_open


def test_failures_in_a_row_open_the_circuit(circuit: Circuit) -> None:
    """After three time-outs in a row the circuit is open and refuses the next calls."""
    for _ in range(FAILURES):
        assert not circuit.is_open
        fail(circuit)
    assert circuit.is_open
    assert is_refused(circuit)
    assert is_refused(circuit, counts=False)


def test_a_success_resets_the_count_of_failures(circuit: Circuit) -> None:
    """A success between failures resets the count of failures."""
    for _ in range(5):
        fail(circuit)
        fail(circuit)
        succeed(circuit)
    assert not circuit.is_open


def test_other_errors_do_not_open_the_circuit(circuit: Circuit) -> None:
    """An error other than a time-out resets the count of failures, as a success does."""
    for _ in range(5):
        fail(circuit)
        fail(circuit)
        fail(circuit, ValueError())
    assert not circuit.is_open


def test_calls_that_do_not_count(circuit: Circuit) -> None:
    """Calls with `counts=False` neither add to the failures in a row nor reset them."""
    for _ in range(5):
        fail(circuit, counts=False)
    assert not circuit.is_open
    fail(circuit)
    fail(circuit)
    succeed(circuit, counts=False)
    fail(circuit)
    assert circuit.is_open


def test_a_success_after_the_open_time_closes_the_circuit(circuit: Circuit, clock: Clock) -> None:
    """After five seconds the circuit admits one call. If that call succeeds, the circuit closes."""
    open_it(circuit)
    clock.now += OPEN_SECONDS - 0.01
    assert is_refused(circuit)
    clock.now += 0.01
    assert not circuit.is_open
    succeed(circuit)
    for _ in range(FAILURES - 1):
        fail(circuit)
    assert not circuit.is_open


def test_a_failed_trial_opens_the_circuit_again(circuit: Circuit, clock: Clock) -> None:
    """One failure of a half-open circuit opens it again for five seconds."""
    open_it(circuit)
    for _ in range(3):
        clock.now += OPEN_SECONDS
        fail(circuit)
        assert circuit.is_open
        assert is_refused(circuit)


def test_one_trial_at_a_time(circuit: Circuit, clock: Clock) -> None:
    """While one call tries a half-open circuit, the circuit refuses all other calls."""
    open_it(circuit)
    clock.now += OPEN_SECONDS
    tries, may_end = threading.Event(), threading.Event()

    def trial() -> None:
        with circuit.call():
            tries.set()
            assert may_end.wait(LONG_SECONDS)

    with ThreadPoolExecutor(1) as executor:
        trying = executor.submit(trial)
        assert tries.wait(LONG_SECONDS)
        assert is_refused(circuit)
        assert is_refused(circuit, counts=False)
        may_end.set()
        trying.result()
    assert not is_refused(circuit)


def test_a_trial_that_does_not_count_leaves_the_circuit_half_open(
    circuit: Circuit, clock: Clock
) -> None:
    """After a trial with `counts=False` the circuit is still half-open."""
    open_it(circuit)
    clock.now += OPEN_SECONDS
    succeed(circuit, counts=False)
    fail(circuit, counts=False)
    assert not circuit.is_open
    fail(circuit)
    assert circuit.is_open


def test_a_closed_circuit_allows_parallel_calls(circuit: Circuit) -> None:
    """A closed circuit allows many calls at the same time."""
    with ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(circuit.call())


def test_the_log(circuit: Circuit, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """The log has one line when the circuit opens, and one line when it closes."""
    open_it(circuit)
    for _ in range(3):
        clock.now += OPEN_SECONDS
        fail(circuit)
        assert is_refused(circuit)
    assert [record.getMessage() for record in caplog.records] == [OPENED]
    clock.now += OPEN_SECONDS
    for _ in range(3):
        succeed(circuit)
    assert [record.getMessage() for record in caplog.records] == [OPENED, CLOSED]


def test_each_backend_has_its_own_circuit(circuit: Circuit) -> None:
    """An open circuit of one backend does not affect the circuit of another backend."""
    other = new_circuit(lambda _: True, "other")
    open_it(circuit)
    assert not other.is_open
    succeed(other)
    assert circuit.is_open


def test_the_threshold_and_the_open_time_are_parameters(clock: Clock) -> None:
    """The number of failures and the open time are parameters of the circuit."""
    circuit = Circuit("default", lambda _: True, failures=1, open_seconds=1)
    fail(circuit)
    assert circuit.is_open
    clock.now += 1
    assert not is_refused(circuit)


def test_calls_that_time_out_together_are_one_line(
    circuit: Circuit, caplog: pytest.LogCaptureFixture
) -> None:
    """If many parallel calls time out, the log has one line."""
    barrier = threading.Barrier(8)

    def call() -> None:
        with suppress(TimeoutError), circuit.call():
            barrier.wait(LONG_SECONDS)
            raise TimeoutError

    together(*[call] * 8)
    assert circuit.is_open
    (record,) = caplog.records
    assert record.getMessage().endswith(
        "calls in a row took too long; "
        "the proxy refuses calls to this backend and tries again in 5 s"
    )


def test_an_earlier_call_that_succeeds_closes_the_circuit(
    circuit: Circuit, caplog: pytest.LogCaptureFixture
) -> None:
    """If a call that began before the circuit opened succeeds, the circuit closes."""
    with circuit.call():
        open_it(circuit)
    assert not circuit.is_open
    assert [record.getMessage() for record in caplog.records] == [OPENED, CLOSED]

"""The circuit to a backend, by a clock that only moves when it is told to."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import pytest
from jicofo_reservation_proxy.backends.circuit_breaker import Circuit, CircuitOpenError

from tests.unit.ledgers import LONG_SECONDS, together

FAILURES = 3
OPEN_SECONDS = 5
OPENED = "backends.default: 3 calls in a row took too long; it is asked again in 5 s"
CLOSED = "backends.default: its calls do not take too long any more"


class Clock:
    """A clock in seconds, from anywhere."""

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
    """Return a closed circuit, which calls that time out open."""
    assert clock.now
    return new_circuit(lambda error: isinstance(error, TimeoutError))


def succeed(circuit: Circuit, *, counts: bool = True) -> None:
    """Make a call that is answered."""
    with circuit.call(counts=counts):
        pass


def fail(circuit: Circuit, error: Exception | None = None, *, counts: bool = True) -> None:
    """Make a call that ends in an error: that its time was up, if it is not told."""
    raised = error or TimeoutError()
    with pytest.raises(type(raised)), circuit.call(counts=counts):
        raise raised


def is_refused(circuit: Circuit, *, counts: bool = True) -> bool:
    """Return whether a call is not made."""
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


def test_failures_in_a_row_open_it(circuit: Circuit) -> None:
    """After three calls that took too long the next ones are not made."""
    for _ in range(FAILURES):
        assert not circuit.is_open
        fail(circuit)
    assert circuit.is_open
    assert is_refused(circuit)
    assert is_refused(circuit, counts=False)


def test_a_success_in_between(circuit: Circuit) -> None:
    """Only failures in a row count."""
    for _ in range(5):
        fail(circuit)
        fail(circuit)
        succeed(circuit)
    assert not circuit.is_open


def test_other_errors_are_answers(circuit: Circuit) -> None:
    """A backend that fails at once answers in time."""
    for _ in range(5):
        fail(circuit)
        fail(circuit)
        fail(circuit, ValueError())
    assert not circuit.is_open


def test_calls_that_do_not_count(circuit: Circuit) -> None:
    """They neither open it nor make the failures before them good."""
    for _ in range(5):
        fail(circuit, counts=False)
    assert not circuit.is_open
    fail(circuit)
    fail(circuit)
    succeed(circuit, counts=False)
    fail(circuit)
    assert circuit.is_open


def test_it_is_asked_again(circuit: Circuit, clock: Clock) -> None:
    """After five seconds a call is let through, and its answer closes the circuit."""
    open_it(circuit)
    clock.now += OPEN_SECONDS - 0.01
    assert is_refused(circuit)
    clock.now += 0.01
    assert not circuit.is_open
    succeed(circuit)
    for _ in range(FAILURES - 1):
        fail(circuit)
    assert not circuit.is_open


def test_a_trial_that_fails(circuit: Circuit, clock: Clock) -> None:
    """Then it is open for as long again, after this one failure."""
    open_it(circuit)
    for _ in range(3):
        clock.now += OPEN_SECONDS
        fail(circuit)
        assert circuit.is_open
        assert is_refused(circuit)


def test_one_trial_at_a_time(circuit: Circuit, clock: Clock) -> None:
    """While one call tries a half-open circuit the others are not made."""
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


def test_a_trial_that_does_not_count(circuit: Circuit, clock: Clock) -> None:
    """It leaves the circuit half-open, for the next one to try."""
    open_it(circuit)
    clock.now += OPEN_SECONDS
    succeed(circuit, counts=False)
    fail(circuit, counts=False)
    assert not circuit.is_open
    fail(circuit)
    assert circuit.is_open


def test_a_closed_circuit_is_for_all(circuit: Circuit) -> None:
    """Calls go on side by side while it is closed."""
    with ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(circuit.call())


def test_the_log(circuit: Circuit, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """It says once that the circuit is open, however often it is tried, and once that it is not."""
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


def test_each_backend_has_its_own(circuit: Circuit) -> None:
    """One that hangs says nothing of the others."""
    other = new_circuit(lambda _: True, "other")
    open_it(circuit)
    assert not other.is_open
    succeed(other)
    assert circuit.is_open


def test_as_many_and_as_long_as_one_likes(clock: Clock) -> None:
    """How many failures open it, and for how long, may be chosen."""
    circuit = Circuit("default", lambda _: True, failures=1, open_seconds=1)
    fail(circuit)
    assert circuit.is_open
    clock.now += 1
    assert not is_refused(circuit)


def test_calls_that_time_out_together_are_one_line(
    circuit: Circuit, caplog: pytest.LogCaptureFixture
) -> None:
    """Many calls are under way when a backend begins to hang; that is told once."""
    barrier = threading.Barrier(8)

    def call() -> None:
        with suppress(TimeoutError), circuit.call():
            barrier.wait(LONG_SECONDS)
            raise TimeoutError

    together(*[call] * 8)
    assert circuit.is_open
    (record,) = caplog.records
    assert record.getMessage().endswith("calls in a row took too long; it is asked again in 5 s")


def test_an_answer_that_was_under_way(circuit: Circuit, caplog: pytest.LogCaptureFixture) -> None:
    """A call from before that is answered after all closes the circuit, and that is said."""
    with circuit.call():
        open_it(circuit)
    assert not circuit.is_open
    assert [record.getMessage() for record in caplog.records] == [OPENED, CLOSED]

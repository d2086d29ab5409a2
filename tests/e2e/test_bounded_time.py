"""A slow or unreachable backend: retries, circuit breaker, in-flight limits, time budget."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from jicofo_reservation_proxy.app import Proxy
from jicofo_reservation_proxy.backends import circuit_breaker as circuit
from jicofo_reservation_proxy.backends.grpc.channel import service_config
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb
from jicofo_reservation_proxy.ids import Named, decode
from jicofo_reservation_proxy.settings.schema import BackendName

from .support import (
    JICOFO,
    PROSODY,
    START,
    TIMEOUT_SECONDS,
    Client,
    Context,
    Script,
    backends,
    conference,
    granting,
    running,
    serving_grpc,
    serving_http,
    settings,
)

Create = Callable[[pb.CreateConferenceRequest, Context], pb.CreateConferenceResponse]


def failing_first(times: int, code: grpc.StatusCode) -> Create:
    """Return a CreateConference that fails this many times and then grants."""
    left = [times]

    def create(request: pb.CreateConferenceRequest, context: Context) -> Any:  # noqa: ANN401
        if left[0]:
            left[0] -= 1
            context.abort(code, "not now")
        return pb.CreateConferenceResponse(conference=conference(request))

    return create


@contextmanager
def hanging() -> Iterator[tuple[Script, threading.Semaphore, threading.Event]]:
    """Yield a backend that hangs, a semaphore that counts its calls, and its release event."""
    arrived, released = threading.Semaphore(0), threading.Event()

    def hang(request: pb.CreateConferenceRequest, _: Context) -> pb.CreateConferenceResponse:
        arrived.release()
        released.wait(TIMEOUT_SECONDS)
        return pb.CreateConferenceResponse(conference=conference(request))

    try:
        yield Script(hang), arrived, released
    finally:
        released.set()


def in_parallel(count: int, work: Callable[[int], object]) -> list[threading.Thread]:
    """Call `work` with 0, 1, … in this many threads; return the started threads."""
    threads = [threading.Thread(target=work, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    return threads


def test_unavailable_is_retried_under_the_same_request_id(tmp_path: Path) -> None:
    """A room opens even if the backend is unreachable for a moment."""
    backend = Script(failing_first(2, grpc.StatusCode.UNAVAILABLE))
    with serving_grpc(backend) as target, running(tmp_path, backends=backends(default=target)) as c:
        assert c.create().status == 200
    assert len(backend.creates) == 3
    assert len({request.request_id for request in backend.creates}) == 1


def test_retries_are_counted(tmp_path: Path) -> None:
    """A call with two retries counts as one call and two retries."""
    backend = Script(failing_first(2, grpc.StatusCode.UNAVAILABLE))
    with (
        serving_grpc(backend) as target,
        Proxy(settings(tmp_path, backends=backends(default=target))) as proxy,
        serving_http(proxy) as port,
    ):
        assert Client(port).create().status == 200
        assert proxy.metrics.retries.labels("default", "create")._value.get() == 2
        assert proxy.metrics.calls.labels("default", "create", "OK")._value.get() == 1


@pytest.mark.parametrize(
    "code",
    [grpc.StatusCode.INTERNAL, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNKNOWN],
)
def test_no_other_grpc_status_is_retried(tmp_path: Path, code: grpc.StatusCode) -> None:
    """The proxy retries no other gRPC status, since the backend may have carried out the call."""
    backend = Script(failing_first(1, code))
    with serving_grpc(backend) as target, running(tmp_path, backends=backends(default=target)) as c:
        assert c.create().status in {502, 503}
    assert len(backend.creates) == 1


def test_retries_stay_within_the_deadline(tmp_path: Path) -> None:
    """`answer_within` limits all attempts of one call together.

    If it is too short for the next attempt, the backend still counts as unreachable, not as slow.
    """
    backend = Script(failing_first(100, grpc.StatusCode.UNAVAILABLE))
    with serving_grpc(backend) as target:
        default = {"target": target, "answer_within": "1100ms"}
        with running(tmp_path, backends={"default": default}) as client:
            assert client.create().status == 503
    # Four back-offs, each at least 80 % of 0.1, 0.2, 0.4 and 0.8 s, exceed 1.1 s.
    assert 1 <= len(backend.creates) < 5


@pytest.mark.parametrize("user_agent", [JICOFO, PROSODY])
def test_a_repeated_post_gets_the_same_reservation(tmp_path: Path, user_agent: str) -> None:
    """A second POST with the same body gets the same conference.

    Prosody repeats a POST with the same body after a 5xx or a dropped connection. Its id names the
    grant too, so the ids for Prosody differ in the number of the grant.
    """
    with running(tmp_path) as any_client:
        client = Client(any_client.port, user_agent)
        first, second = client.create(), client.create()
    named = [decode(str(reply.json["id"])) for reply in (first, second)]
    if user_agent == PROSODY:
        assert isinstance(named[0], Named)
        assert isinstance(named[1], Named)
        assert named[0].ref == named[1].ref
        assert named[0].hold < named[1].hold
    else:
        assert named[0] == named[1]
    assert (first.status, first.json | {"id": ""}) == (200, second.json | {"id": ""})


def test_one_time_budget_covers_waiting_and_calls(tmp_path: Path) -> None:
    """The proxy answers two requests for one room of a hanging backend in `respond_within`."""
    with hanging() as (backend, _, released), serving_grpc(backend) as target:
        default = {"target": target, "answer_within": "10s"}
        with running(tmp_path, backends={"default": default}, respond_within="400ms") as client:
            started = time.monotonic()
            statuses: list[int] = []
            threads = in_parallel(2, lambda _: statuses.append(client.create().status))
            for thread in threads:
                thread.join()
            elapsed = time.monotonic() - started
            released.set()
    assert statuses == [504, 504]
    assert elapsed < 5


def test_calls_in_flight_are_bounded_for_each_backend(tmp_path: Path) -> None:
    """If `in_flight` calls of a backend hang, other requests to it get 503. Other backends work."""
    with (
        hanging() as (failing, arrived, released),
        serving_grpc(failing) as target,
        serving_grpc(granting()) as healthy,
    ):
        tree = {"failing": {"target": target, "in_flight": 2}, "healthy": {"target": healthy}}
        routes = [{"room": "failing*", "backend": "failing"}, {"backend": "healthy"}]
        with running(tmp_path, backends=tree, routes=routes) as client:
            threads = in_parallel(2, lambda index: client.create(f"failing{index}"))
            for _ in threads:
                assert arrived.acquire(timeout=TIMEOUT_SECONDS)
            assert client.create("failing9").status == 503
            assert client.get("failing.x").status == 503
            assert client.create("fine").status == 200
            released.set()
            for thread in threads:
                thread.join()


def test_a_busy_backend_gets_no_fallback_grant(tmp_path: Path) -> None:
    """The proxy makes fallback grants for an unreachable backend, but not for a busy one."""
    with hanging() as (busy, arrived, released), serving_grpc(busy) as target:
        default = {"target": target, "in_flight": 1, "when_unreachable": "allow"}
        with running(tmp_path, backends={"default": default}) as client:
            threads = in_parallel(1, lambda _: client.create("first"))
            assert arrived.acquire(timeout=TIMEOUT_SECONDS)
            assert client.create("second").status == 503
            released.set()
            for thread in threads:
                thread.join()


def test_a_closed_proxy_answers_503_and_logs_no_fault(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A closed proxy answers 503, and does not log that as a fault of the proxy."""
    with serving_grpc(granting()) as target:
        tree = settings(tmp_path, backends=backends(default=target))
        with Proxy(tree) as proxy:
            client = proxy.flask.test_client()
            proxy.close()
            form = {"name": "room", "start_time": START}
            assert client.post("/conference", data=form, buffered=True).status_code == 503
            assert client.get("/conference/default.x", buffered=True).status_code == 503
            assert client.delete("/conference/default.x", buffered=True).status_code == 503
    assert "a fault of the proxy" not in caplog.text


def test_the_circuit_opens_after_timeouts_and_closes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """After three time-outs in a row the proxy answers 503 and does not call the backend.

    Later the proxy makes one call. If that call succeeds, the proxy makes all calls again.
    """
    now = [0.0]
    monkeypatch.setattr("circuitbreaker.monotonic", lambda: now[0])
    with hanging() as (backend, arrived, released), serving_grpc(backend) as target:
        default = {"target": target, "answer_within": "500ms"}
        with (
            Proxy(settings(tmp_path, backends={"default": default})) as proxy,
            serving_http(proxy) as port,
        ):
            client = Client(port)
            assert [client.create(f"room{n}").status for n in range(3)] == [504] * 3
            for _ in range(3):
                assert arrived.acquire(timeout=TIMEOUT_SECONDS)
            assert [client.create(f"room{n}").status for n in range(3)] == [503] * 3
            assert len(backend.creates) == 3
            gauge = "jicofo_reservation_proxy_backend_circuit_open"
            labels = {"backend": "default"}
            assert proxy.metrics.registry.get_sample_value(gauge, labels) == 1
            released.set()
            now[0] += circuit.OPEN_SECONDS
            until = time.monotonic() + TIMEOUT_SECONDS
            while client.create("again").status != 200:
                assert time.monotonic() < until
                now[0] += circuit.OPEN_SECONDS
            assert proxy.metrics.registry.get_sample_value(gauge, labels) == 0
    assert "3 calls in a row took too long" in caplog.text
    assert "the circuit is closed: calls are answered in time again" in caplog.text


@pytest.mark.parametrize(
    ("values", "is_checked"),
    [
        ({}, True),
        ({"health_check": "off"}, False),
        ({"auth": {"api_key_file": "key"}}, False),
        ({"auth": {"api_key_file": "key"}, "health_check": "on"}, True),
    ],
)
def test_health_checks_are_off_by_default_with_an_api_key(
    tmp_path: Path, values: dict[str, Any], is_checked: bool
) -> None:
    """With an API key, health checks are off unless the setting turns them on.

    A health check carries no key, so a backend that requires a key would never be healthy.
    """
    (tmp_path / "key").write_text("secret")
    if "auth" in values:
        values = values | {"auth": {"api_key_file": str(tmp_path / "key")}}
    tree = settings(tmp_path, backends={"default": {"target": "127.0.0.1:1"} | values})
    _, config = service_config(tree.backends[BackendName("default")])
    assert ("healthCheckConfig" in str(config)) is is_checked

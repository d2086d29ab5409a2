"""Tests of the service: a client calls a real server and checks the rules of the contract."""

import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import create_autospec

import grpc
import jicofo_reservation_stub
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2_grpc as pb_grpc
from jicofo_reservation_stub.service import Policy, ReservationService
from jicofo_reservation_stub.store import Conference, Ending, Store

from .conftest import Connect, FakeClock, Serve

INCIDENT = (("x-incident-id", "inc-17"),)


def request(
    request_id: str = "5c9ffa2f-6f5a-4f0e-8d3c-0d9b2a1c7e11",
    raw: str = "[acme]caf%c3%a9",
    *,
    owner: str = "juliet@example.com",
    start: datetime | None = None,
    seconds: int | None = None,
) -> pb.CreateConferenceRequest:
    """Return a request as the proxy sends it."""
    message = pb.CreateConferenceRequest(
        request_id=request_id,
        room=pb.Room(raw=raw, tenant="acme", name=raw.removeprefix("[acme]")),
        owner=pb.Owner(raw=owner),
    )
    message.start_time.FromDatetime(start or FakeClock().now)
    if seconds is not None:
        message.duration.seconds = seconds
    return message


def fault(call: Callable[[], object]) -> tuple[grpc.StatusCode, str]:
    """Return the gRPC status and the text of a call that fails."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code(), caught.value.details() or ""


class Backend:
    """A running stub, with methods that call it."""

    def __init__(self, serve: Serve, connect: Connect, clock: FakeClock) -> None:
        self._serve = serve
        self._connect = connect
        self._clock = clock
        self.stub = self.start()

    def start(
        self,
        policy: Policy | None = None,
        **store: Any,  # noqa: ANN401
    ) -> pb_grpc.ReservationServiceStub:
        """Start a new stub with an empty store and this policy; later calls go to it."""
        service = ReservationService(Store(**{"clock": self._clock, **store}), policy)
        self.stub = pb_grpc.ReservationServiceStub(self._connect(self._serve(service)))
        return self.stub

    def create(self, message: pb.CreateConferenceRequest) -> pb.CreateConferenceResponse:
        """Call CreateConference."""
        return self.stub.CreateConference(message, timeout=10, metadata=INCIDENT)

    def get(self, conference_id: str) -> pb.Conference:
        """Call GetConference."""
        message = pb.GetConferenceRequest(conference_id=conference_id)
        return self.stub.GetConference(message, timeout=10, metadata=INCIDENT).conference

    def delete(self, conference_id: str, reason: pb.DeleteReason.ValueType) -> None:
        """Call DeleteConference."""
        message = pb.DeleteConferenceRequest(conference_id=conference_id, reason=reason)
        self.stub.DeleteConference(message, timeout=10, metadata=INCIDENT)


@pytest.fixture
def backend(serve: Serve, connect: Connect, clock: FakeClock) -> Backend:
    """Return a running stub that denies nothing and sets no limits."""
    return Backend(serve, connect, clock)


def test_granted_conference_echoes_the_request(backend: Backend) -> None:
    """A granted conference has only an id and the room, owner and start of the request."""
    wanted = request()
    wanted.start_time.nanos = 123_000_000
    response = backend.create(wanted)
    assert response.WhichOneof("outcome") == "conference"
    assert response.conference.id
    expected = pb.Conference(
        id=response.conference.id,
        room="[acme]caf%c3%a9",
        owner="juliet@example.com",
        start_time=wanted.start_time,
    )
    assert response.conference == expected
    assert backend.get(response.conference.id) == expected


def test_no_owner_is_an_empty_owner(backend: Backend) -> None:
    """A conference without an owner in the request has an empty owner.

    Jitsi without authentication sends no owner.
    """
    wanted = request()
    wanted.ClearField("owner")
    assert backend.create(wanted).conference.owner == ""


def test_repeated_request_is_granted_the_same(backend: Backend) -> None:
    """The same request_id gets the same conference as a grant, not as a conflict."""
    assert backend.create(request()) == backend.create(request())


def test_conflict_carries_the_whole_conference(backend: Backend) -> None:
    """Another request for a held room gets a conflict with the conference, also from its owner."""
    backend.start(Policy(max_occupants=5, lobby=True, password="open sesame"))
    holder = backend.create(request("r1", seconds=60)).conference
    for owner in ("juliet@example.com", "romeo@example.com"):
        response = backend.create(request("r2", owner=owner))
        assert response.WhichOneof("outcome") == "conflict"
        assert response.conflict.conference == holder
    assert holder.password == "open sesame"


def test_rooms_are_the_same_only_if_room_raw_is_equal(backend: Backend) -> None:
    """Two rooms are the same only if Room.raw is equal: the tenant and the spelling count."""
    rooms = ("board", "[acme]board", "[globex]board", "BOARD", "bo%61rd")
    outcomes = [backend.create(request(f"r{n}", raw)) for n, raw in enumerate(rooms)]
    assert [outcome.WhichOneof("outcome") for outcome in outcomes] == ["conference"] * 5
    assert len({outcome.conference.id for outcome in outcomes}) == 5


@pytest.mark.parametrize("reason", pb.DeleteReason.values())
def test_deleted_conference_is_gone(backend: Backend, reason: pb.DeleteReason.ValueType) -> None:
    """After a deletion, the id is NOT_FOUND, and the same request gets a new conference."""
    first = backend.create(request()).conference
    backend.delete(first.id, reason)
    assert fault(lambda: backend.get(first.id)) == (
        grpc.StatusCode.NOT_FOUND,
        "no such conference",
    )
    second = backend.create(request()).conference
    assert second.id != first.id
    backend.delete(first.id, reason)
    assert backend.get(second.id) == second


def test_a_deletion_that_was_given_up_is_not_carried_out(clock: FakeClock) -> None:
    """The stub does not delete a conference if the caller has given up the deletion.

    The caller may have given the conference to a client again before a thread was free.
    """
    service = ReservationService(Store(clock=clock))
    context = create_autospec(grpc.ServicerContext, instance=True)
    context.invocation_metadata.return_value = ()
    context.abort.side_effect = ConnectionAbortedError
    held = service.CreateConference(request(), context).conference
    context.is_active.return_value = False
    with pytest.raises(ConnectionAbortedError):
        service.DeleteConference(pb.DeleteConferenceRequest(conference_id=held.id), context)
    assert context.abort.call_args.args[0] is grpc.StatusCode.CANCELLED
    get = pb.GetConferenceRequest(conference_id=held.id)
    assert service.GetConference(get, context).conference == held


def test_deleting_an_unknown_id_is_ok(backend: Backend) -> None:
    """DeleteConference answers OK for an unknown id."""
    backend.delete("no-such-id", pb.DELETE_REASON_ENDED)


def test_getting_an_unknown_id_is_not_found(backend: Backend) -> None:
    """GetConference answers NOT_FOUND for an unknown id."""
    assert fault(lambda: backend.get("no-such-id"))[0] is grpc.StatusCode.NOT_FOUND


def test_conference_that_is_over_is_gone(backend: Backend, clock: FakeClock) -> None:
    """After start + duration the id is NOT_FOUND, and another request gets the room."""
    first = backend.create(request(seconds=60)).conference
    assert first.duration == Duration(seconds=60)
    clock.advance(minutes=1)
    assert fault(lambda: backend.get(first.id))[0] is grpc.StatusCode.NOT_FOUND
    second = backend.create(request("r2", start=clock.now)).conference
    assert second.id not in {"", first.id}


def test_request_for_the_past_is_denied(backend: Backend, clock: FakeClock) -> None:
    """A request whose end has already passed gets a denial, not an error."""
    start = clock.now
    clock.advance(minutes=1)
    denial = backend.create(request(start=start, seconds=60)).denial
    assert denial.reason == pb.DENIAL_REASON_TOO_LATE
    assert denial.message == "The time of this meeting is over already."


@pytest.mark.parametrize(
    ("wanted", "limit", "given"),
    [(None, None, None), (90, None, 90), (None, 60, 60), (30, 60, 30), (90, 60, 60)],
)
def test_the_shorter_duration_counts(
    backend: Backend, wanted: int | None, limit: int | None, given: int | None
) -> None:
    """The conference gets the shorter of the two durations: the request's or the policy's."""
    backend.start(Policy(duration=None if limit is None else timedelta(seconds=limit)))
    conference = backend.create(request(seconds=wanted)).conference
    assert conference.HasField("duration") == (given is not None)
    assert conference.duration.seconds == (given or 0)


def test_policy_is_given_to_every_conference(backend: Backend) -> None:
    """A conference has an occupants limit, lobby and password only if the policy sets them."""
    optional = ("max_occupants", "lobby", "password", "pin", "url", "sip_id")
    plain = backend.create(request()).conference
    assert [name for name, _ in plain.ListFields() if name.name in optional] == []
    backend.start(Policy(max_occupants=7, lobby=True, password="open sesame"))
    conference = backend.create(request()).conference
    values = (conference.max_occupants, conference.lobby, conference.password)
    assert values == (7, True, "open sesame")


@pytest.mark.parametrize(
    ("pattern", "name", "denied"),
    [
        ("board-*", "board-1", True),
        ("Board-*", "board-1", True),
        ("board-*", "keyboard-1", False),
        ("board", "board-1", False),
        ("caf\u00e9", "caf\u00c9", True),
        ("room?", "room1", True),
    ],
)
def test_denied_names(backend: Backend, pattern: str, name: str, denied: bool) -> None:
    """A pattern matches the whole decoded name, in any case; a denial has a text and a reason."""
    backend.start(Policy(deny=("other", pattern)))
    wanted = request()
    wanted.room.name = name
    response = backend.create(wanted)
    assert response.HasField("denial") == denied
    if denied:
        assert response.denial.message == "Rooms of this name are not available."
        assert response.denial.reason == pb.DENIAL_REASON_INVALID_ROOM


def test_denied_name_in_the_raw_room(backend: Backend) -> None:
    """The patterns also apply to a caller that sends only Room.raw."""
    backend.start(Policy(deny=("board",)))
    wanted = request()
    wanted.room.CopyFrom(pb.Room(raw="board"))
    assert backend.create(wanted).HasField("denial")


def test_one_nanosecond_is_a_duration(backend: Backend) -> None:
    """A duration of one nanosecond is valid; the stub rounds it up to one microsecond."""
    wanted = request()
    wanted.duration.nanos = 1
    assert backend.create(wanted).conference.duration == Duration(nanos=1000)


DURATION = "duration: wanted a positive duration of at most 10,000 years, or none, got"
BROKEN: list[tuple[str, dict[str, object]]] = [
    ("request_id: wanted a value, got none", {"request_id": ""}),
    ("room.raw: wanted a value, got none", {"room": pb.Room(name="board")}),
    ("room.raw: wanted at most 1023 bytes, got 1024", {"room": pb.Room(raw="\u00e9" * 512)}),
    ("owner.raw: wanted a value, got none", {"owner": pb.Owner(user="juliet")}),
    ("start_time: wanted a time, got none", {"start_time": None}),
    (
        "start_time: wanted a valid time in the years 1 to 9999, got 1000000000000 s and 0 ns",
        {"start_time": Timestamp(seconds=10**12)},
    ),
    (
        "start_time: wanted a valid time in the years 1 to 9999, got 0 s and -1 ns",
        {"start_time": Timestamp(nanos=-1)},
    ),
    (f"{DURATION} 0 s and 0 ns", {"duration": Duration()}),
    (f"{DURATION} -1 s and 0 ns", {"duration": Duration(seconds=-1)}),
    (f"{DURATION} 1000000000000 s and 0 ns", {"duration": Duration(seconds=10**12)}),
    (f"{DURATION} 1000000000000000 s and 0 ns", {"duration": Duration(seconds=10**15)}),
]


@pytest.mark.parametrize(("details", "fields"), BROKEN)
def test_broken_create_is_an_invalid_argument(
    backend: Backend, details: str, fields: dict[str, Any]
) -> None:
    """A request that breaks the contract gets an error with the field's name, and no room."""
    good = request()
    parts: dict[str, Any] = {
        "request_id": good.request_id,
        "room": good.room,
        "owner": good.owner,
        "start_time": good.start_time,
    }
    broken = pb.CreateConferenceRequest(**{**parts, **fields})
    code, text = fault(lambda: backend.create(broken))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert text.startswith(details)
    assert backend.create(request("r2")).HasField("conference")


@pytest.mark.parametrize(
    ("holder", "hold", "text"),
    [
        ("a", 0, "hold: wanted a positive number, because holder is set, got 0"),
        ("a", -1, "hold: wanted a positive number, because holder is set, got -1"),
        ("", 7, "hold: wanted 0, because holder is empty, got 7"),
    ],
)
def test_a_hold_that_does_not_fit_its_holder(
    backend: Backend, holder: str, hold: int, text: str
) -> None:
    """CreateConference answers INVALID_ARGUMENT to a hold without a holder, and the reverse."""
    wanted = request()
    wanted.holder, wanted.hold = holder, hold
    assert fault(lambda: backend.create(wanted)) == (grpc.StatusCode.INVALID_ARGUMENT, text)


def test_broken_get_and_delete_are_invalid_arguments(backend: Backend) -> None:
    """GetConference and DeleteConference answer INVALID_ARGUMENT if the id is empty."""
    expected = (grpc.StatusCode.INVALID_ARGUMENT, "conference_id: wanted a value, got none")
    assert fault(lambda: backend.get("")) == expected
    assert fault(lambda: backend.delete("", pb.DELETE_REASON_ENDED)) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "conference_id or room: wanted a value, got none",
    )


def test_a_full_store_is_a_fault(backend: Backend) -> None:
    """A full stub answers RESOURCE_EXHAUSTED until a conference is deleted."""
    backend.start(max_conferences=1)
    first = backend.create(request("r1", "one")).conference
    code, text = fault(lambda: backend.create(request("r2", "two")))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert text == "the store is full: it holds 1 conferences, its maximum number"
    backend.delete(first.id, pb.DELETE_REASON_ENDED)
    assert backend.create(request("r2", "two")).HasField("conference")


def test_oversized_request_is_refused(backend: Backend) -> None:
    """The server refuses a request that is larger than its limit, 256 KiB."""
    code, _ = fault(lambda: backend.create(request(owner="j" * 300_000)))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_one_of_two_calls_at_the_same_time_is_granted(backend: Backend) -> None:
    """If two callers ask for the same room at the same time, exactly one gets it."""
    barrier = threading.Barrier(2)

    def ask(caller: int) -> list[bool]:
        barrier.wait(timeout=10)
        wanted = (request(f"{caller}-{n}", f"room{n}") for n in range(50))
        return [backend.create(message).HasField("conference") for message in wanted]

    with ThreadPoolExecutor(2) as threads:
        one, two = threads.map(ask, range(2))
    assert all(a != b for a, b in zip(one, two, strict=True))


class StuckStore(Store):
    """A store whose `get` waits until the test sets `free`."""

    def __init__(self) -> None:
        super().__init__()
        self.busy = threading.Semaphore(0)
        self.free = threading.Event()

    def get(self, conference_id: str) -> Conference | None:
        """Count the waiting call, wait, and then read the conference."""
        self.busy.release()
        assert self.free.wait(timeout=10)
        return super().get(conference_id)


def test_call_whose_deadline_passed_does_nothing(serve: Serve, connect: Connect) -> None:
    """A call whose deadline passes while it waits for a thread gets no room."""
    store = StuckStore()
    stub = pb_grpc.ReservationServiceStub(connect(serve(ReservationService(store))))
    unknown = pb.GetConferenceRequest(conference_id="x")
    running = [stub.GetConference.future(unknown, timeout=20) for _ in range(8)]
    # Now all threads of the server are busy.
    assert all(store.busy.acquire(timeout=10) for _ in running)
    # The second call gives the server time to notice that the first call has timed out.
    for timeout in (0.1, 0.3):
        with pytest.raises(grpc.RpcError, match="DEADLINE_EXCEEDED"):
            stub.CreateConference(request("r1", f"room{timeout}"), timeout=timeout)
    store.free.set()
    assert [call.code() for call in running] == [grpc.StatusCode.NOT_FOUND] * 8
    response = stub.CreateConference(request("r2", "room0.1"), timeout=10)
    assert response.HasField("conference")


def test_one_line_for_each_call(backend: Backend, caplog: pytest.LogCaptureFixture) -> None:
    """The log line of a call has the incident id, the call and the result; never a password."""
    backend.start(Policy(password="open sesame", deny=("denied",)))
    with caplog.at_level(logging.DEBUG, "jicofo_reservation_stub"):
        wanted = request("r1", "two\nlines")
        wanted.extra_fields["x-pass"] = "hunter2"
        conference = backend.create(wanted).conference
        backend.create(request("r2", "two\nlines"))
        backend.create(request("r3", "denied"))
        backend.get(conference.id)
        fault(lambda: backend.get(""))
        backend.delete(conference.id, pb.DELETE_REASON_EXPIRED)
        backend.delete(conference.id, pb.DELETE_REASON_EXPIRED)
    cid = conference.id
    lines = [record.getMessage() for record in caplog.records if record.levelname == "INFO"]
    assert lines == [
        f"incident='inc-17' create room='two\\nlines': granted id={cid}",
        f"incident='inc-17' create room='two\\nlines': conflict with id={cid}",
        "incident='inc-17' create room='denied': denied: Rooms of this name are not available.",
        f"incident='inc-17' get id='{cid}': found",
        "incident='inc-17' get id='': INVALID_ARGUMENT: conference_id: wanted a value, got none",
        f"incident='inc-17' delete id='{cid}' reason=2: deleted",
        f"incident='inc-17' delete id='{cid}' reason=2: nothing to delete",
    ]
    assert "juliet@example.com" in caplog.text
    assert "sesame" not in caplog.text
    assert "hunter2" not in caplog.text


def test_holders(backend: Backend, caplog: pytest.LogCaptureFixture) -> None:
    """The service passes holders on, answers the hold of the row, and logs what it did."""
    with caplog.at_level(logging.INFO, "jicofo_reservation_stub"):
        first, second = request("r1", "board"), request("r2", "board")
        first.holder, first.hold, second.holder, second.hold = "a", 7, "b", 9
        granted, conflict = backend.create(first), backend.create(second)
        assert (granted.hold, conflict.hold) == (7, 9)
        cid = granted.conference.id
        for message in (
            pb.DeleteConferenceRequest(conference_id=cid, holder="a", hold=6),
            pb.DeleteConferenceRequest(conference_id=cid, holder="a", hold=7),
            pb.DeleteConferenceRequest(room="board", holder="b", hold=9),
        ):
            assert backend.get(cid).id == cid
            backend.stub.DeleteConference(message, timeout=10, metadata=INCIDENT)
    assert fault(lambda: backend.get(cid))[0] is grpc.StatusCode.NOT_FOUND
    lines = [record.getMessage().partition(" ")[2] for record in caplog.records]
    assert [line for line in lines if not line.startswith("get")] == [
        f"create room='board' holder='a' hold=7: granted id={cid}",
        f"create room='board' holder='b' hold=9: conflict with id={cid}",
        f"delete id='{cid}' reason=0 holder='a' hold=6: {Ending.NOT_CHANGED.value}",
        f"delete id='{cid}' reason=0 holder='a' hold=7: {Ending.RELEASED.value}",
        "delete room='board' reason=0 holder='b' hold=9: deleted",
    ]


def test_names_that_the_package_exports() -> None:
    """The package exports every name in `__all__`. An unknown name raises `AttributeError`."""
    for name in jicofo_reservation_stub.__all__:
        assert getattr(jicofo_reservation_stub, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'Sever'"):
        jicofo_reservation_stub.Sever  # noqa: B018


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("jicofo_reservation_stub.service", ["grpc_health.v1", "grpc_reflection.v1alpha"]),
        ("jicofo_reservation_stub.store", ["grpc", "google.protobuf"]),
    ],
)
def test_modules_import_only_what_they_need(module: str, absent: list[str]) -> None:
    """The service does not import health checking and reflection; the store imports no gRPC."""
    code = f"import sys, {module}; print([name for name in {absent} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path}; {code}"],
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.stdout == "[]\n"

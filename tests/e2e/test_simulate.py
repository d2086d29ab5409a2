"""`simulate` on real sockets: towards the real proxy, and towards servers as none should be."""

import argparse
import json
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from jicofo_reservation_proxy.commands import exit_codes as exits
from jicofo_reservation_proxy.commands import simulate as command
from jicofo_reservation_proxy.commands.simulate import Habits
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb
from jicofo_reservation_proxy.simulation import jicofo
from jicofo_reservation_proxy.simulation.jicofo import JicofoHabits
from jicofo_reservation_proxy.simulation.meetings import CUT_SHORT
from jicofo_reservation_proxy.simulation.outcomes import OVER, WAITS_FOR_EVER
from jicofo_reservation_proxy.simulation.prosody import Prosody, ProsodyHabits
from jicofo_reservation_proxy.simulation.prosody_answers import FIXED_TEXT
from jicofo_reservation_proxy.simulation.report import INTERRUPTED

from tests.unit.simulation.interruption import interrupt_start_of
from tests.unit.simulation.servers import (
    CLOSE,
    SILENCE,
    Act,
    Request,
    Script,
    answering,
    http,
    reservation,
)

from .support import TIMEOUT_SECONDS, Context, conference, granting, running
from .support import Script as Backend

FAST = Habits(
    jicofo=JicofoHabits(tick=0.05),
    prosody=ProsodyHabits(pause=0.0, sweep=0.05),
)
CLIENTS = ("jicofo", "prosody")

PROGRAM = """
import argparse, signal, sys
from jicofo_reservation_proxy.commands import simulate as command
signal.signal(signal.SIGINT, signal.default_int_handler)
parser = argparse.ArgumentParser()
command.add_arguments(parser)
try:
    sys.exit(command.run(parser.parse_args()))
except KeyboardInterrupt:
    sys.exit(99)
"""
"""The command by itself; 99 stands for what the command line makes of a second Ctrl-C."""


@dataclass(frozen=True)
class Run:
    """What a run came to: its exit code, its JSON, its report, and its errors."""

    code: int
    fields: dict[str, Any]
    report: str
    errors: str

    @property
    def seen(self) -> dict[str, int]:
        """What users saw other than an open room, with counts."""
        return {count["text"]: count["count"] for count in self.fields["seen"]}

    @property
    def wrong(self) -> dict[str, int]:
        """What went wrong behind the screen, with counts."""
        return {count["text"]: count["count"] for count in self.fields["wrong"]}


class Simulate:
    """The command, as a user gives it."""

    def __init__(self, capsys: pytest.CaptureFixture[str], directory: Path) -> None:
        self._capsys = capsys
        self._file = directory / "report.json"

    def __call__(self, client: str, port: int, *argv: str, habits: Habits = FAST) -> Run:
        """Run it, briefly unless told otherwise."""
        flags = {"--rooms": "4", "--lifetime": "10ms", "--json": str(self._file)}
        listen = f"127.0.0.1:{port}"
        defaults = [part for flag in flags.items() if flag[0] not in argv for part in flag]
        code = command.run(parsed("--as", client, "--listen", listen, *defaults, *argv), habits)
        printed = self._capsys.readouterr()
        fields = json.loads(self._file.read_text()) if self._file.exists() else {}
        return Run(code, fields, printed.out, printed.err)


def parsed(*argv: str) -> argparse.Namespace:
    """Parse arguments as the command line does."""
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(argv)


@pytest.fixture
def simulate(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Simulate:
    """Return the command."""
    return Simulate(capsys, tmp_path)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_good_backend_opens_and_closes_every_room(
    simulate: Simulate, tmp_path: Path, client: str
) -> None:
    """Through the real proxy; the backend sees each room begin, and end, three times."""
    counter = iter(range(1, 1000))
    lock = threading.Lock()

    def create(request: pb.CreateConferenceRequest, _: Context) -> pb.CreateConferenceResponse:
        with lock:
            number = str(next(counter))
        return pb.CreateConferenceResponse(conference=conference(request, number))

    backend = Backend(create)
    with running(tmp_path / "state", backend) as proxy:
        run = simulate(client, proxy.port, "--times", "3", "--name", "Board", "--tenant", "Acme")
    assert run.code == exits.OK, run.report
    assert run.fields["openings"] == run.fields["opened"] == run.fields["closed"] == 12
    assert run.report.startswith(
        f"{client} at 127.0.0.1:{proxy.port}: 4 rooms, 3 times each, open for 0.01 s\n"
    )
    assert "Every user saw an open room." in run.report
    rooms = [request.room.raw for request in backend.creates]
    assert sorted(rooms) == sorted(3 * [f"[acme]board-{number}" for number in range(1, 5)])
    assert {request.owner.raw for request in backend.creates} == {"juliet@example.com"}
    deleted = {request.conference_id for request in backend.deletes}
    assert deleted == {str(number) for number in range(1, 13)}


def test_runs_do_not_meet(simulate: Simulate, tmp_path: Path) -> None:
    """By default the rooms have other names each time."""
    with running(tmp_path / "state") as proxy:
        runs = [simulate(client, proxy.port) for client in (*CLIENTS, "jicofo")]
    assert [run.code for run in runs] == [exits.OK] * 3
    rooms = {meeting["room"] for run in runs for meeting in run.fields["meetings"]}
    assert len(rooms) == 12


def test_nobody_has_signed_in(simulate: Simulate, tmp_path: Path) -> None:
    """Jicofo names no owner; Prosody a new guest at each login."""
    backend = granting()
    with running(tmp_path / "state", backend) as proxy:
        assert simulate("jicofo", proxy.port, "--anonymous", "--rooms", "1").code == exits.OK
        assert not backend.creates[0].HasField("owner")
        assert simulate("prosody", proxy.port, "--anonymous", "--times", "2").code == exits.OK
    guests = [request.owner for request in backend.creates[1:]]
    assert all(guest.domain == "guest.example.com" for guest in guests)
    assert len({guest.raw for guest in guests}) == 8


@pytest.mark.parametrize(("client", "asked"), [("jicofo", 8), ("prosody", 4)])
def test_a_denial_is_shown(simulate: Simulate, tmp_path: Path, client: str, asked: int) -> None:
    """With its status and sentence. Prosody repeats it from memory, without asking again."""
    denial = pb.CreateConferenceResponse(denial=pb.Denial(message="Not today."))
    backend = Backend(lambda *_: denial)
    habits = Habits()
    with running(tmp_path / "state", backend) as proxy:
        run = simulate(client, proxy.port, "--times", "2", habits=habits)
    assert run.code == exits.NOT_AS_EXPECTED
    assert run.seen == {'403, "Not today."': 8}
    assert run.wrong == {}
    assert (run.fields["refused"], run.fields["failed"]) == (8, 0)
    assert '    8 x 403, "Not today." (such as ' in run.report
    assert len(backend.creates) == asked


@pytest.mark.parametrize(("client", "repeats"), [("jicofo", 0), ("prosody", 12)])
def test_a_dead_backend_is_a_failure(
    simulate: Simulate, tmp_path: Path, client: str, repeats: int
) -> None:
    """Prosody asks three times more; its users get the proxy's sentence all the same."""
    backend = {"target": f"unix:{tmp_path}/nobody.sock", "answer_within": "100ms"}
    with running(tmp_path / "state", backends={"default": backend}) as proxy:
        run = simulate(client, proxy.port)
    assert run.code == exits.NOT_AS_EXPECTED
    assert sum(run.seen.values()) == run.fields["failed"] == 4
    assert all(re.fullmatch(r'50[34], "The .* \(incident …\)"', text) for text in run.seen)
    assert run.fields["repeats"] == repeats


@pytest.mark.parametrize(
    ("client", "owner", "opened"),
    [("jicofo", "romeo@example.com", 1), ("jicofo", "x@example.com", 0), ("prosody", "x", 1)],
)
def test_the_409_flow(
    simulate: Simulate, tmp_path: Path, client: str, owner: str, opened: int
) -> None:
    """A room that Romeo holds: Jicofo lets only him in, Prosody anyone."""

    def held(request: pb.CreateConferenceRequest) -> pb.Conference:
        return conference(request, "12", owner="romeo@example.com")

    def create(request: pb.CreateConferenceRequest, _: Context) -> pb.CreateConferenceResponse:
        return pb.CreateConferenceResponse(conflict=pb.Conflict(conference=held(request)))

    def get(_: pb.GetConferenceRequest, __: Context) -> pb.GetConferenceResponse:
        return pb.GetConferenceResponse(conference=held(backend.creates[0]))

    backend = Backend(create, get)
    with running(tmp_path / "state", backend, conflicts="report") as proxy:
        run = simulate(client, proxy.port, "--owner", owner, "--rooms", "1")
    assert (run.fields["opened"], run.fields["closed"]) == (opened, opened), run.report
    assert run.code == (exits.OK if opened else exits.NOT_AS_EXPECTED)


def test_jicofo_sends_one_request_at_a_time(simulate: Simulate) -> None:
    """Over one connection, while rooms that are open stay open."""
    with _counting(1) as (script, most), answering(script) as server:
        run = simulate("jicofo", server.port, "--rooms", "6", "--lifetime", "50ms")
    assert run.code == exits.OK
    assert max(most) == 1
    assert len({request.connection for request in server.requests}) == 1
    assert server.methods == 6 * ["POST"] + 6 * ["DELETE"]


@pytest.mark.parametrize("at_once", [1, 3])
def test_prosody_sends_as_many_requests_at_once_as_told(simulate: Simulate, at_once: int) -> None:
    """So many meet at a barrier, and never more."""
    with _counting(at_once) as (script, most), answering(script) as server:
        run = simulate("prosody", server.port, "--rooms", "6", "--at-once", str(at_once))
    assert run.code == exits.OK
    assert max(most) == at_once
    assert len({request.connection for request in server.requests}) == 12


@contextmanager
def _counting(at_once: int) -> Iterator[tuple[Script, list[int]]]:
    """Yield a script that lets POSTs go on only when so many are there, and how many were."""
    barrier = threading.Barrier(at_once)
    lock = threading.Lock()
    running_now: set[int] = set()
    most: list[int] = []

    def script(request: Request) -> bytes:
        if request.method != "POST":
            return http(200, {})
        with lock:
            running_now.add(request.connection)
            most.append(len(running_now))
        barrier.wait(TIMEOUT_SECONDS)
        with lock:
            running_now.discard(request.connection)
        return http(200, reservation(request))

    yield script, most


def _scripted(
    post: Callable[[Request], Act | bytes], delete: Act | bytes | None = None
) -> Callable[[Request], Act | bytes]:
    """Return a script with one answer for POST and one, by default a good one, for DELETE."""

    def script(request: Request) -> Act | bytes:
        if request.method == "POST":
            return post(request)
        return http(200, {}) if delete is None else delete

    return script


def _good(request: Request) -> bytes:
    return http(200, reservation(request))


def test_an_idle_connection_that_is_closed_silently_fails_on_jicofos_screen(
    simulate: Simulate,
) -> None:
    """Every other POST meets its end. Prosody has no connection that could idle."""

    def script(request: Request) -> Act:
        return Act(_good(request) if request.method == "POST" else http(200, {}), closes=True)

    with answering(script) as server:
        run = simulate("jicofo", server.port, "--lifetime", "1s", "--rooms", "4")
        assert run.fields["failed"] == 2
        assert any("announce its end by Connection: close" in text for text in run.wrong)
        assert run.code == exits.NOT_AS_EXPECTED
        assert simulate("prosody", server.port).code == exits.OK


def test_an_interim_answer_is_the_last_that_prosody_reads(simulate: Simulate) -> None:
    """Jicofo reads on."""
    hints = b"HTTP/1.1 103 Early Hints\r\n\r\n"
    with answering(_scripted(lambda request: hints + _good(request))) as server:
        assert simulate("jicofo", server.port).code == exits.OK
        run = simulate("prosody", server.port)
    assert run.seen == {f"103, {FIXED_TEXT}": 4}
    assert list(run.wrong) == ["a 103 came first, which Prosody takes for the final answer"]


def test_an_array_approves_what_was_refused(simulate: Simulate) -> None:
    """Where Jicofo has no authentication; Prosody shows the message."""
    refusal = http(403, {"message": "No.", "reasons": ["x"]})
    with answering(_scripted(lambda _: refusal)) as server:
        run = simulate("jicofo", server.port, "--anonymous")
        assert (run.code, run.fields["opened"]) == (exits.NOT_AS_EXPECTED, 4)
        assert any("takes anything for an approval" in text for text in run.wrong)
        assert simulate("prosody", server.port).seen == {'403, "No."': 4}


def test_null_leaves_prosodys_rooms_stuck(simulate: Simulate) -> None:
    """Nobody is answered, and nothing is asked again."""
    with answering(_scripted(lambda _: http(200, b"null"))) as server:
        run = simulate("prosody", server.port, "--times", "2")
        assert run.seen == {WAITS_FOR_EVER: 8}
        assert len(server.requests) == 4
        assert run.code == exits.NOT_AS_EXPECTED


def test_no_answer_hangs_jicofo(simulate: Simulate) -> None:
    """The first room is asked for; all of them wait."""
    with answering(lambda _: SILENCE) as server:
        run = simulate("jicofo", server.port, "--give-up-after", "100ms")
        assert server.methods == ["POST"]
    assert run.seen == {WAITS_FOR_EVER: 4}
    assert run.wrong == {jicofo.BEHIND: 3, jicofo.HANGS: 1}
    assert "Jicofo hangs, and with it every room it has" in run.report


def test_no_answer_is_refused_by_prosody(simulate: Simulate) -> None:
    """After its time-out, once for each room."""
    habits = Habits(prosody=ProsodyHabits(time_out=0.2))
    with answering(lambda _: SILENCE) as server:
        run = simulate("prosody", server.port, habits=habits)
        assert server.methods == 4 * ["POST"]
    assert run.seen == {FIXED_TEXT: 4}


def test_a_hang_at_the_end_of_a_room_is_reported(simulate: Simulate) -> None:
    """The rooms were open; none of them is closed any more."""
    with answering(_scripted(_good, SILENCE)) as server:
        run = simulate("jicofo", server.port, "--give-up-after", "100ms")
    assert (run.fields["opened"], run.fields["closed"], run.seen) == (4, 0, {})
    assert run.wrong == {jicofo.BEHIND: 3, jicofo.HANGS: 1}
    assert run.code == exits.NOT_AS_EXPECTED


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("status", [204, 404])
def test_a_delete_that_is_not_taken_goes_wrong_behind_the_screen(
    simulate: Simulate, client: str, status: int
) -> None:
    """The users saw nothing of it."""
    with answering(_scripted(_good, http(status, b""))) as server:
        run = simulate(client, server.port)
    assert (run.fields["opened"], run.fields["closed"], run.seen) == (4, 0, {})
    assert run.code == exits.NOT_AS_EXPECTED
    assert [f"a DELETE was answered {status}" in text for text in run.wrong] == [True]
    assert "What went wrong behind the screen:" in run.report


def test_a_delete_that_drops_is_reported(simulate: Simulate) -> None:
    """After three repeats, by both clients."""
    with answering(_scripted(_good, CLOSE)) as server:
        for client in CLIENTS:
            run = simulate(client, server.port, "--rooms", "1")
            assert run.fields["repeats"] == 3
            assert any(text.startswith("a DELETE failed: ") for text in run.wrong)


def _ending_in(seconds: float) -> dict[str, object]:
    """Return the fields of a reservation that began long ago and ends soon."""
    start = datetime.now(UTC) + timedelta(seconds=seconds, hours=-1)
    return {"start_time": f"{start.isoformat(timespec='milliseconds')[:-6]}Z", "duration": 3600}


@pytest.mark.parametrize("client", CLIENTS)
def test_a_room_that_ends_before_people_leave_is_seen(simulate: Simulate, client: str) -> None:
    """The client closes it, with a DELETE."""

    def post(request: Request) -> bytes:
        return http(200, reservation(request, **_ending_in(2.0)))

    with answering(_scripted(post)) as server:
        run = simulate(client, server.port, "--lifetime", "1h", "--rooms", "2")
    assert run.seen == {CUT_SHORT: 2}
    assert run.fields["opened"] == run.fields["closed"] == 2
    assert run.code == exits.NOT_AS_EXPECTED


def test_after_a_204_jicofo_ends_no_room_by_itself(simulate: Simulate) -> None:
    """The end of the first room kills the timer: the second outlives its own."""
    ends = iter([0.5, 1.0])

    def post(request: Request) -> bytes:
        return http(200, reservation(request, **_ending_in(next(ends))))

    with answering(_scripted(post, http(204, b""))) as server:
        run = simulate("jicofo", server.port, "--lifetime", "2s", "--rooms", "2")
    assert run.seen == {CUT_SHORT: 1}
    assert run.fields["opened"] == 2
    assert server.methods == 2 * ["POST"] + 2 * ["DELETE"]


@pytest.mark.parametrize("client", CLIENTS)
def test_a_reservation_that_is_over_is_419(simulate: Simulate, client: str) -> None:
    """The user sees that number."""
    past = {"start_time": "2020-04-20T17:55:12.000Z"}
    with answering(_scripted(lambda request: http(200, reservation(request, **past)))) as server:
        run = simulate(client, server.port)
        assert server.methods == 4 * ["POST"]
    assert run.seen == {OVER: 4}


def test_the_path_of_the_base_url(simulate: Simulate) -> None:
    """Jicofo normalises it, Prosody does not."""
    with answering(_scripted(_good)) as server:
        for client in CLIENTS:
            simulate(client, server.port, "--rooms", "1", "--path", "/x/")
        targets = [request.target for request in server.requests if request.method == "POST"]
    assert targets == [b"/x/conference", b"/x//conference"]


@pytest.mark.parametrize("client", CLIENTS)
def test_a_bug_closes_the_rooms_that_are_open_and_reports(
    simulate: Simulate,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    client: str,
) -> None:
    """Then it is raised; nobody waits for the end of an hour."""
    kind: Any = {"jicofo": jicofo.Jicofo, "prosody": Prosody}[client]
    original = kind.open

    def opening(self: Any, room: str, owner: str | None) -> Any:  # noqa: ANN401 - either's
        if room.endswith("-3"):
            raise ZeroDivisionError
        return original(self, room, owner)

    monkeypatch.setattr(kind, "open", opening)
    with answering(_scripted(_good)) as server, pytest.raises(ZeroDivisionError):
        simulate(client, server.port, "--lifetime", "1h")
    opened = server.methods.count("POST")
    assert opened >= 2
    assert server.methods.count("DELETE") == opened
    assert INTERRUPTED in capsys.readouterr().out
    fields = json.loads((tmp_path / "report.json").read_text())
    assert fields["opened"] == fields["closed"] == opened


@pytest.mark.parametrize("number", [0, 2])
@pytest.mark.parametrize("is_running", [False, True])
def test_ctrl_c_while_the_threads_start_is_130(
    simulate: Simulate, monkeypatch: pytest.MonkeyPatch, number: int, is_running: bool
) -> None:
    """What was opened until then is closed."""
    interrupt_start_of(f"simulation-{number}", monkeypatch, is_running=is_running)
    with answering(_scripted(_good)) as server:
        run = simulate("prosody", server.port, "--lifetime", "1h")
    assert run.code == exits.INTERRUPTED
    assert run.fields["opened"] == run.fields["closed"]
    assert server.methods.count("POST") == server.methods.count("DELETE") == run.fields["opened"]


def test_too_many_openings_are_2(simulate: Simulate) -> None:
    """Rooms x times is bounded, each opening being kept for the report."""
    run = simulate("prosody", 1, "--rooms", "50001", "--times", "2")
    assert run.code == exits.USAGE
    assert run.errors == (
        "jicofo-reservation-proxy: --rooms, --times: wanted at most 100000 openings in all, "
        "got 50001 x 2 = 100002; lower one of them\n"
    )


def test_nobody_there_is_6(simulate: Simulate) -> None:
    """The error names the address and what to do; nothing is reported."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    run = simulate("jicofo", port)
    assert (run.code, run.report, run.fields) == (exits.CANNOT_LISTEN, "", {})
    assert run.errors == (
        f"jicofo-reservation-proxy: listen: wanted a reservation system at 127.0.0.1:{port}, "
        "got no connection: Connection refused; start it, or name another address\n"
    )


def test_json_to_stdout_takes_the_place_of_the_report(simulate: Simulate, tmp_path: Path) -> None:
    """So that a program can read it."""
    with running(tmp_path / "state") as proxy:
        run = simulate("prosody", proxy.port, "--json", "-")
    assert run.code == exits.OK
    assert json.loads(run.report)["opened"] == 4


def test_the_old_report_stays_until_the_new_one_is_there(
    simulate: Simulate, tmp_path: Path
) -> None:
    """Nothing else is left beside it."""
    file = tmp_path / "report.json"
    file.write_text("old")
    found: list[str] = []

    def post(request: Request) -> bytes:
        found.append(file.read_text())
        return _good(request)

    with answering(_scripted(post)) as server:
        run = simulate("jicofo", server.port)
    assert found == ["old"] * 4
    assert run.fields["opened"] == 4
    assert list(tmp_path.iterdir()) == [file]


def test_json_may_go_to_what_is_no_regular_file(simulate: Simulate) -> None:
    """It is written to, and not replaced."""
    with answering(_scripted(_good)) as server:
        assert simulate("jicofo", server.port, "--json", "/dev/null").code == exits.OK
    assert Path("/dev/null").is_char_device()


def test_a_file_that_cannot_be_written_is_2_before_anything_is_sent(
    simulate: Simulate, tmp_path: Path
) -> None:
    """A long run would be in vain."""
    with answering(_scripted(_good)) as server:
        run = simulate("jicofo", server.port, "--json", str(tmp_path / "no" / "x.json"))
        assert server.requests == []
    assert run.code == exits.USAGE
    assert "--json: cannot write: " in run.errors


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ((), "--as"),
        (("--as", "jigasi"), "invalid choice: 'jigasi'"),
        (("--listen", "nowhere"), "wanted HOST:PORT, such as 127.0.0.1:7777"),
        (("--listen", "127.0.0.1:99999"), "wanted HOST:PORT"),
        (("--rooms", "0"), "wanted a whole number from 1 to 100000, got '0'"),
        (("--at-once", "51"), "wanted a whole number from 1 to 50, got '51'"),
        (("--lifetime", "5"), "wanted a duration from 1ms to 7d, such as 250ms or 5s, got '5'"),
        (("--lifetime", "8d"), "wanted a duration from 1ms to 7d"),
        (("--give-up-after", "0s"), "wanted a duration from 1ms to 7d"),
        (("--name", ""), "wanted a printable text"),
        (("--owner", "a\nb"), "wanted a printable text"),
        (("--owner", "a", "--anonymous"), "not allowed with argument"),
        (("--path", "x"), "wanted a path such as / or /reservations, got 'x'"),
    ],
)
def test_a_wrong_command_line_is_2(
    capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], words: str
) -> None:
    """What was wanted and what was got."""
    with pytest.raises(SystemExit) as exit_:
        parsed(*argv)
    assert exit_.value.code == exits.USAGE
    assert words in capsys.readouterr().err


def test_the_defaults() -> None:
    """Ten rooms of a second, at the proxy's own address."""
    arguments = parsed("--as", "prosody")
    assert (arguments.rooms, arguments.lifetime, arguments.times) == (10, 1.0, 1)
    assert arguments.listen.authority == "127.0.0.1:7777"
    assert parsed("--as", "jicofo", "--listen", "[::1]:1").listen.authority == "[::1]:1"


@pytest.mark.parametrize("client", CLIENTS)
def test_ctrl_c_closes_the_rooms_that_are_open(tmp_path: Path, client: str) -> None:
    """Then comes the report of what was, and 130."""
    are_open = threading.Event()
    posts: list[Request] = []

    def script(request: Request) -> bytes:
        if request.method != "POST":
            return http(200, {})
        posts.append(request)
        if len(posts) == 3:
            are_open.set()
        return http(200, reservation(request, id=len(posts)))

    file = tmp_path / "report.json"
    with (
        answering(script) as server,
        _process(client, server.port, "--rooms", "3", "--json", str(file)) as process,
    ):
        assert are_open.wait(TIMEOUT_SECONDS)
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == exits.INTERRUPTED, errors
    deleted = {request.target.rpartition(b"/")[2].partition(b".")[0] for request in server.requests}
    assert {b"1", b"2", b"3"} <= deleted
    assert INTERRUPTED in out
    fields = json.loads(file.read_text())
    assert (fields["opened"], fields["closed"], fields["seen"]) == (3, 3, [])
    assert errors == ""


def test_ctrl_c_opens_no_other_room() -> None:
    """Those that were never opened are not in the report; those that were are closed."""
    is_asked = threading.Event()

    def post(request: Request) -> bytes:
        is_asked.set()
        return _good(request)

    with (
        answering(_scripted(post)) as server,
        _process("jicofo", server.port, "--rooms", "100000") as process,
    ):
        assert is_asked.wait(TIMEOUT_SECONDS)
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == exits.INTERRUPTED, errors
    opened = server.methods.count("POST")
    assert server.methods == opened * ["POST"] + opened * ["DELETE"]
    assert opened < 100_000
    assert re.search(rf"^ *{opened} +{opened} +0 +0 +{opened} +0$", out, re.MULTILINE)


def test_a_second_ctrl_c_ends_at_once(tmp_path: Path) -> None:
    """Also when a DELETE is never answered; it says so, and leaves the old report."""
    file = tmp_path / "report.json"
    file.write_text("old")
    is_open, is_closing = threading.Event(), threading.Event()

    def script(request: Request) -> Act | bytes:
        if request.method == "POST":
            is_open.set()
            return _good(request)
        is_closing.set()
        return SILENCE

    with (
        answering(script) as server,
        _process("jicofo", server.port, "--rooms", "1", "--json", str(file)) as process,
    ):
        assert is_open.wait(TIMEOUT_SECONDS)
        process.send_signal(signal.SIGINT)
        assert is_closing.wait(TIMEOUT_SECONDS)
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=TIMEOUT_SECONDS)
    assert (process.returncode, out) == (99, "")
    assert errors == (
        "jicofo-reservation-proxy: interrupted again: rooms that are open are left open, "
        "and there is no report\n"
    )
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


@contextmanager
def _process(client: str, port: int, *argv: str) -> Iterator[subprocess.Popen[str]]:
    """Run the command as a process, with rooms that stay open until it is told to stop."""
    flags = ("--as", client, "--listen", f"127.0.0.1:{port}", "--lifetime", "1h")
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *flags, *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()


def test_it_needs_neither_grpc_nor_flask() -> None:
    """The simulation is a client, and shares nothing with what serves."""
    program = (
        "import sys; from jicofo_reservation_proxy.commands import simulate; "
        "print({'grpc', 'flask', 'waitress', 'jicofo_reservation_proxy.http'} & {*sys.modules})"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout == "set()\n"

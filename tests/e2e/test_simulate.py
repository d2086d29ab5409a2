"""`simulate` on real sockets: against the real proxy, and against faulty servers."""

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
from jicofo_reservation_proxy.commands.main import main
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

from .support import TIMEOUT_SECONDS, Context, conference, granting_all, running
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
"""The command without the command line. It exits with 99 after a second Ctrl-C."""

SIGNALS_ELSEWHERE = """
import signal, threading
threading.Thread(target=threading.Event().wait, daemon=True).start()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
"""
"""The system gives Ctrl-C to another thread, so it interrupts no wait of the main thread."""


@dataclass(frozen=True)
class Run:
    """The result of a run: its exit code, its JSON, its report, and its errors."""

    code: int
    fields: dict[str, Any]
    report: str
    errors: str

    @property
    def seen(self) -> dict[str, int]:
        """The texts that users saw instead of an open room, with counts."""
        return {count["text"]: count["count"] for count in self.fields["seen"]}

    @property
    def wrong(self) -> dict[str, int]:
        """The problems that users did not see, with counts."""
        return {count["text"]: count["count"] for count in self.fields["wrong"]}


class Simulate:
    """A callable that runs the command, by default with few rooms and a short lifetime."""

    def __init__(self, capsys: pytest.CaptureFixture[str], directory: Path) -> None:
        self._capsys = capsys
        self._file = directory / "report.json"

    def __call__(self, client: str, port: int, *argv: str, habits: Habits = FAST) -> Run:
        """Run the command with few rooms and a short lifetime, unless the arguments differ."""
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
    """Through the real proxy, the backend gets a create and a delete for each opening."""
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


def test_each_run_uses_new_room_names(simulate: Simulate, tmp_path: Path) -> None:
    """By default, no two runs use the same room."""
    with running(tmp_path / "state") as proxy:
        runs = [simulate(client, proxy.port) for client in (*CLIENTS, "jicofo")]
    assert [run.code for run in runs] == [exits.OK] * 3
    rooms = {meeting["room"] for run in runs for meeting in run.fields["meetings"]}
    assert len(rooms) == 12


def test_anonymous_users_have_no_owner_or_a_new_guest(simulate: Simulate, tmp_path: Path) -> None:
    """With --anonymous, Jicofo sends no owner, and Prosody sends a new guest at each opening."""
    backend = granting_all()
    with running(tmp_path / "state", backend) as proxy:
        assert simulate("jicofo", proxy.port, "--anonymous", "--rooms", "1").code == exits.OK
        assert not backend.creates[0].HasField("owner")
        assert simulate("prosody", proxy.port, "--anonymous", "--times", "2").code == exits.OK
    guests = [request.owner for request in backend.creates[1:]]
    assert all(guest.domain == "guest.example.com" for guest in guests)
    assert len({guest.raw for guest in guests}) == 8


@pytest.mark.parametrize(("client", "asked"), [("jicofo", 8), ("prosody", 4)])
def test_a_denial_is_shown(simulate: Simulate, tmp_path: Path, client: str, asked: int) -> None:
    """The report shows the denial that users see. Prosody shows it again without a new request."""
    denial = pb.CreateConferenceResponse(denial=pb.Denial(message="Not today."))
    backend = Backend(lambda *_: denial)
    habits = Habits()
    with running(tmp_path / "state", backend) as proxy:
        run = simulate(client, proxy.port, "--times", "2", habits=habits)
    assert run.code == exits.NOT_AS_EXPECTED
    assert run.seen == {'403, "Not today."': 8}
    assert run.wrong == {}
    assert (run.fields["refused"], run.fields["failed"]) == (8, 0)
    assert '    8 x 403, "Not today." (for example room ' in run.report
    assert len(backend.creates) == asked


@pytest.mark.parametrize(("client", "repeats"), [("jicofo", 0), ("prosody", 12)])
def test_an_unreachable_backend_is_a_failure(
    simulate: Simulate, tmp_path: Path, client: str, repeats: int
) -> None:
    """Prosody repeats its POST three times; the users of both clients see the proxy's sentence."""
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
    """After a 409 for Romeo's room, Jicofo lets in only Romeo, and Prosody lets in everyone."""

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
    """Jicofo sends all requests one after the other over one connection, while rooms are open."""
    with _counting(1) as (script, most), answering(script) as server:
        run = simulate("jicofo", server.port, "--rooms", "6", "--lifetime", "50ms")
    assert run.code == exits.OK
    assert max(most) == 1
    assert len({request.connection for request in server.requests}) == 1
    assert server.methods == 6 * ["POST"] + 6 * ["DELETE"]


@pytest.mark.parametrize("at_once", [1, 3])
def test_the_flag_at_once_limits_the_simultaneous_requests_of_prosody(
    simulate: Simulate, at_once: int
) -> None:
    """The number of simultaneous requests reaches --at-once and never exceeds it."""
    with _counting(at_once) as (script, most), answering(script) as server:
        run = simulate("prosody", server.port, "--rooms", "6", "--at-once", str(at_once))
    assert run.code == exits.OK
    assert max(most) == at_once
    assert len({request.connection for request in server.requests}) == 12


@contextmanager
def _counting(at_once: int) -> Iterator[tuple[Script, list[int]]]:
    """Yield a script, and a list with the number of running POSTs at the start of each POST.

    The script answers POSTs only when `at_once` of them have arrived.
    """
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
    """Return a script with one answer to a POST and one answer, by default 200, to a DELETE."""

    def script(request: Request) -> Act | bytes:
        if request.method == "POST":
            return post(request)
        return http(200, {}) if delete is None else delete

    return script


def _good(request: Request) -> bytes:
    return http(200, reservation(request))


def test_jicofos_next_post_fails_after_a_silent_close(
    simulate: Simulate,
) -> None:
    """Every second POST of Jicofo fails. Prosody keeps no idle connection, so it has no failure."""

    def script(request: Request) -> Act:
        return Act(_good(request) if request.method == "POST" else http(200, {}), closes=True)

    with answering(script) as server:
        run = simulate("jicofo", server.port, "--lifetime", "1s", "--rooms", "4")
        assert run.fields["failed"] == 2
        assert any("announce its end with Connection: close" in text for text in run.wrong)
        assert run.code == exits.NOT_AS_EXPECTED
        assert simulate("prosody", server.port).code == exits.OK


def test_prosody_uses_an_interim_answer_as_the_final_answer(simulate: Simulate) -> None:
    """Jicofo ignores an interim answer. Prosody uses it as the final answer."""
    hints = b"HTTP/1.1 103 Early Hints\r\n\r\n"
    with answering(_scripted(lambda request: hints + _good(request))) as server:
        assert simulate("jicofo", server.port).code == exits.OK
        run = simulate("prosody", server.port)
    assert run.seen == {f"103, {FIXED_TEXT}": 4}
    assert list(run.wrong) == ["an interim 103 came first: Prosody reads no further answer"]


def test_an_array_in_a_refusal_opens_the_room_in_jicofo(simulate: Simulate) -> None:
    """If a 403 has an array, Jicofo without an owner opens the room. Prosody shows the message."""
    refusal = http(403, {"message": "No.", "reasons": ["x"]})
    with answering(_scripted(lambda _: refusal)) as server:
        run = simulate("jicofo", server.port, "--anonymous")
        assert (run.code, run.fields["opened"]) == (exits.NOT_AS_EXPECTED, 4)
        assert any("treats every such answer as an approval" in text for text in run.wrong)
        assert simulate("prosody", server.port).seen == {'403, "No."': 4}


def test_null_leaves_prosodys_rooms_stuck(simulate: Simulate) -> None:
    """After the answer `null`, users wait forever, and Prosody sends no second request."""
    with answering(_scripted(lambda _: http(200, b"null"))) as server:
        run = simulate("prosody", server.port, "--times", "2")
        assert run.seen == {WAITS_FOR_EVER: 8}
        assert len(server.requests) == 4
        assert run.code == exits.NOT_AS_EXPECTED


def test_no_answer_hangs_jicofo(simulate: Simulate) -> None:
    """If the server never answers, Jicofo sends only one request, and all its rooms wait."""
    with answering(lambda _: SILENCE) as server:
        run = simulate("jicofo", server.port, "--give-up-after", "100ms")
        assert server.methods == ["POST"]
    assert run.seen == {WAITS_FOR_EVER: 4}
    assert run.wrong == {jicofo.BEHIND: 3, jicofo.HANGS: 1}
    assert "Jicofo hangs, and all rooms of this Jicofo hang" in run.report


def test_prosody_refuses_a_room_after_its_time_out(simulate: Simulate) -> None:
    """Prosody refuses each room after its time-out, and does not repeat the request."""
    habits = Habits(prosody=ProsodyHabits(time_out=1.5))
    with answering(lambda _: SILENCE) as server:
        run = simulate("prosody", server.port, habits=habits)
        assert server.methods == 4 * ["POST"]
    assert run.seen == {FIXED_TEXT: 4}


def test_a_delete_without_an_answer_hangs_jicofo(simulate: Simulate) -> None:
    """The rooms were open, but Jicofo closes no room after a DELETE without an answer."""
    with answering(_scripted(_good, SILENCE)) as server:
        run = simulate("jicofo", server.port, "--give-up-after", "100ms")
    assert (run.fields["opened"], run.fields["closed"], run.seen) == (4, 0, {})
    assert run.wrong == {jicofo.BEHIND: 3, jicofo.HANGS: 1}
    assert run.code == exits.NOT_AS_EXPECTED


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("status", [204, 404])
def test_a_delete_that_is_not_200_is_a_problem_that_users_do_not_see(
    simulate: Simulate, client: str, status: int
) -> None:
    """The report lists such a DELETE as a problem that users did not see."""
    with answering(_scripted(_good, http(status, b""))) as server:
        run = simulate(client, server.port)
    assert (run.fields["opened"], run.fields["closed"], run.seen) == (4, 0, {})
    assert run.code == exits.NOT_AS_EXPECTED
    assert [f"a DELETE was answered with {status}" in text for text in run.wrong] == [True]
    assert "Problems that users did not see:" in run.report


def test_a_delete_whose_connection_drops_is_reported(simulate: Simulate) -> None:
    """Both clients repeat the DELETE three times; then the report lists the failure."""
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
def test_a_room_whose_reservation_ends_early_is_closed(simulate: Simulate, client: str) -> None:
    """The client closes the room with a DELETE, and the report shows the early end."""

    def post(request: Request) -> bytes:
        return http(200, reservation(request, **_ending_in(2.0)))

    with answering(_scripted(post)) as server:
        run = simulate(client, server.port, "--lifetime", "1h", "--rooms", "2")
    assert run.seen == {CUT_SHORT: 2}
    assert run.fields["opened"] == run.fields["closed"] == 2
    assert run.code == exits.NOT_AS_EXPECTED


def test_after_a_204_jicofo_closes_no_room_at_the_end_of_its_reservation(
    simulate: Simulate,
) -> None:
    """The 204 stops Jicofo's timer. The second room stays open until the end of `--lifetime`."""
    ends = iter([1.5, 3.5])

    def post(request: Request) -> bytes:
        return http(200, reservation(request, **_ending_in(next(ends))))

    with answering(_scripted(post, http(204, b""))) as server:
        run = simulate("jicofo", server.port, "--lifetime", "5s", "--rooms", "2")
    assert run.seen == {CUT_SHORT: 1}
    assert run.fields["opened"] == 2
    assert server.methods == 2 * ["POST"] + 2 * ["DELETE"]


@pytest.mark.parametrize("client", CLIENTS)
def test_a_reservation_that_has_ended_is_419(simulate: Simulate, client: str) -> None:
    """The user sees the number 419 if the reservation in the answer has already ended."""
    past = {"start_time": "2020-04-20T17:55:12.000Z"}
    with answering(_scripted(lambda request: http(200, reservation(request, **past)))) as server:
        run = simulate(client, server.port)
        assert server.methods == 4 * ["POST"]
    assert run.seen == {OVER: 4}


def test_the_path_of_the_base_url(simulate: Simulate) -> None:
    """Jicofo removes a slash at the end of the base URL, Prosody keeps it."""
    with answering(_scripted(_good)) as server:
        for client in CLIENTS:
            simulate(client, server.port, "--rooms", "1", "--path", "/x/")
        targets = [request.target for request in server.requests if request.method == "POST"]
    assert targets == [b"/x/conference", b"/x//conference"]


@pytest.mark.parametrize("client", CLIENTS)
def test_an_unexpected_error_closes_the_open_rooms_and_is_raised(
    simulate: Simulate,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    client: str,
) -> None:
    """The command closes the open rooms at once, prints the report, and then raises the error."""
    kind: Any = {"jicofo": jicofo.Jicofo, "prosody": Prosody}[client]
    original = kind.open

    def opening(self: Any, room: str, owner: str | None) -> Any:  # noqa: ANN401 - of either client
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
def test_ctrl_c_while_the_threads_start_exits_with_130(
    simulate: Simulate, monkeypatch: pytest.MonkeyPatch, number: int, is_running: bool
) -> None:
    """After Ctrl-C, the command closes all rooms that it has opened."""
    interrupt_start_of(f"simulation-{number}", monkeypatch, is_running=is_running)
    with answering(_scripted(_good)) as server:
        run = simulate("prosody", server.port, "--lifetime", "1h")
    assert run.code == exits.INTERRUPTED
    assert run.fields["opened"] == run.fields["closed"]
    assert server.methods.count("POST") == server.methods.count("DELETE") == run.fields["opened"]


def test_too_many_openings_exit_with_2(simulate: Simulate) -> None:
    """The command limits rooms x times to 100000, because the report keeps each opening."""
    run = simulate("prosody", 1, "--rooms", "50001", "--times", "2")
    assert run.code == exits.USAGE
    assert run.errors == (
        "jicofo-reservation-proxy: --rooms, --times: wanted at most 100000 openings in all, "
        "got 50001 x 2 = 100002; lower one of them\n"
    )


def test_an_address_without_a_server_exits_with_6(simulate: Simulate) -> None:
    """The error names the address and a remedy; the command prints no report."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    run = simulate("jicofo", port)
    assert (run.code, run.report, run.fields) == (exits.CANNOT_LISTEN, "", {})
    assert run.errors == (
        f"jicofo-reservation-proxy: listen: wanted a reservation system at 127.0.0.1:{port}, "
        "got no connection: Connection refused; start it, or give another address with --listen\n"
    )


def test_json_to_stdout_replaces_the_text_report(simulate: Simulate, tmp_path: Path) -> None:
    """With `--json -`, standard output contains only the JSON."""
    with running(tmp_path / "state") as proxy:
        run = simulate("prosody", proxy.port, "--json", "-")
    assert run.code == exits.OK
    assert json.loads(run.report)["opened"] == 4


def test_the_old_report_stays_until_the_new_one_is_complete(
    simulate: Simulate, tmp_path: Path
) -> None:
    """The command replaces the old report at the end of the run, and leaves no temporary file."""
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


def test_json_may_go_to_a_file_that_is_not_regular(simulate: Simulate) -> None:
    """The command writes to a device and does not replace it."""
    with answering(_scripted(_good)) as server:
        assert simulate("jicofo", server.port, "--json", "/dev/null").code == exits.OK
    assert Path("/dev/null").is_char_device()


def test_a_file_that_cannot_be_written_exits_with_2_before_any_request(
    simulate: Simulate, tmp_path: Path
) -> None:
    """The command checks the file before the run, so that no long run is lost."""
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
        (("--name", ""), "wanted one or more printable characters"),
        (("--owner", "a\nb"), "wanted one or more printable characters"),
        (("--owner", "a", "--anonymous"), "not allowed with argument"),
        (("--path", "x"), "wanted a path such as / or /reservations, got 'x'"),
    ],
)
def test_a_wrong_command_line_exits_with_2(
    capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], words: str
) -> None:
    """The command exits with 2, and the error explains the mistake."""
    with pytest.raises(SystemExit) as exit_:
        parsed(*argv)
    assert exit_.value.code == exits.USAGE
    assert words in capsys.readouterr().err


def test_the_defaults() -> None:
    """The default is ten rooms with a lifetime of one second at the proxy's default address."""
    arguments = parsed("--as", "prosody")
    assert (arguments.rooms, arguments.lifetime, arguments.times) == (10, 1.0, 1)
    assert arguments.listen.authority == "127.0.0.1:7777"
    assert parsed("--as", "jicofo", "--listen", "[::1]:1").listen.authority == "[::1]:1"


@pytest.mark.parametrize("client", CLIENTS)
def test_ctrl_c_closes_the_open_rooms_and_reports(tmp_path: Path, client: str) -> None:
    """After Ctrl-C, the command closes the open rooms, prints the report, and exits with 130."""
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


def test_after_ctrl_c_no_more_rooms_are_opened() -> None:
    """The command closes and reports only the rooms that it opened before Ctrl-C."""
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


@pytest.mark.parametrize("program", [PROGRAM, SIGNALS_ELSEWHERE + PROGRAM])
def test_a_second_ctrl_c_ends_the_command_at_once(program: str, tmp_path: Path) -> None:
    """A second Ctrl-C ends the command, even if a DELETE gets no answer; the old report stays."""
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
        _process(
            "jicofo", server.port, "--rooms", "1", "--json", str(file), program=program
        ) as process,
    ):
        assert is_open.wait(TIMEOUT_SECONDS)
        process.send_signal(signal.SIGINT)
        assert is_closing.wait(TIMEOUT_SECONDS)
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=TIMEOUT_SECONDS)
    assert (process.returncode, out) == (99, "")
    assert errors == (
        "jicofo-reservation-proxy: interrupted again: the open rooms stay open, "
        "and no report is printed\n"
    )
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


@contextmanager
def _process(
    client: str, port: int, *argv: str, program: str = PROGRAM
) -> Iterator[subprocess.Popen[str]]:
    """Run the command as a process with rooms that stay open for an hour."""
    flags = ("--as", client, "--listen", f"127.0.0.1:{port}", "--lifetime", "1h")
    with subprocess.Popen(
        [sys.executable, "-c", program, *flags, *argv],
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


def test_simulate_imports_neither_grpc_nor_flask() -> None:
    """The simulation does not import the code of the proxy that answers requests."""
    program = (
        "import sys; from jicofo_reservation_proxy.commands import simulate; "
        "print({'grpc', 'flask', 'waitress', 'jicofo_reservation_proxy.http'} & {*sys.modules})"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout == "set()\n"


def test_files_that_cannot_be_used_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--ca-file` and `--token-file` say which file is wrong, and not what is in it."""
    wrong = tmp_path / "wrong"
    for flag in ("--ca-file", "--token-file"):
        for content in (None, "hunter2"):
            wrong.unlink(missing_ok=True)
            if content:
                wrong.write_text(content)
            assert main(["simulate", "--as", "jicofo", flag, str(wrong)]) == 2
            message = capsys.readouterr().err
            assert message.startswith(f"jicofo-reservation-proxy: {flag}: ")
            assert str(wrong) in message
            assert "hunter2" not in message

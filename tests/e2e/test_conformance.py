"""The command `conformance`: its output, its files, its exit codes, and its clean-up."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from queue import SimpleQueue
from xml.etree import ElementTree as ET

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from jicofo_reservation_proxy.commands import main as cli
from jicofo_reservation_proxy.commands.signals import ended_by_sigterm
from jicofo_reservation_proxy.conformance import Kit, Verdict, cases
from jicofo_reservation_proxy.errors import SettingsError
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb
from jicofo_reservation_proxy.settings.schema import BackendName, Deadline
from jicofo_reservation_proxy.settings.validation import validate
from jicofo_reservation_stub import Policy, ReservationService, Store

from .support import TIMEOUT_SECONDS, Context, Script, granting, serving_grpc
from .tls import SERVER_NAME, Authority

DENYING = Policy(deny=("conformance-denied",))
QUICK = ("--only", "get*", "--without", "denial")
"""Flags that select quick cases."""


@pytest.fixture
def store() -> Store:
    """Return the store of the backend."""
    return Store()


@pytest.fixture
def target(store: Store) -> Iterator[str]:
    """Serve a correct backend without health checking."""
    with serving_grpc(ReservationService(store, DENYING)) as address:
        yield address


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def conformance(capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs the command and returns its exit code, stdout and stderr."""

    def run(*argv: object) -> tuple[int, str, str]:
        try:
            code = cli.main(["conformance", *map(str, argv)])
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def test_a_correct_backend_passes_and_no_conference_is_left(
    conformance: Run, target: str, store: Store
) -> None:
    """All cases pass except the skipped case, and the kit deletes all conferences."""
    code, out, _ = conformance(target, "--without", "health")
    assert code == 0, out
    assert out.splitlines()[0].split() == ["CASE", "WANTED", "GOT"]
    assert out.splitlines()[-1] == f"{len(cases())} cases: {len(cases()) - 1} passed, 1 skipped"
    assert len(store) == 0


@pytest.mark.parametrize("target", ["http://127.0.0.1:8080", "HTTPS://example.com/api/v1"])
def test_an_http_backend_is_refused(conformance: Run, target: str) -> None:
    """The kit speaks gRPC only: the command says so, exits with 3, and connects to nothing."""
    code, out, error = conformance(target)
    assert (code, out) == (3, "")
    assert "wanted a gRPC target such as 127.0.0.1:50051, because the kit speaks gRPC only" in error
    assert "with the commands call and simulate" in error
    with pytest.raises(SettingsError, match=r"^backend\.target: wanted a gRPC target"):
        Kit(target)


def test_the_output_shows_skipped_cases_and_remaining_conferences(
    conformance: Run, target: str, store: Store
) -> None:
    """The output shows the skipped cases, and the conferences that stay with `--without delete`."""
    code, out, _ = conformance(
        target, "--only", "*delete*", "--only", "clients", "--without=delete"
    )
    assert code == 0
    assert "skip  get-deleted" in out
    assert "the backend leaves out delete" in out
    assert "conferences that the kit did not delete, still at the backend: 3 (" in out
    assert len(store) == 3


def test_a_failure_shows_the_wanted_and_the_actual_answer(conformance: Run) -> None:
    """The kit also prints the sentence of the contract for a failed case, and exits with 9."""
    with serving_grpc(granting("4711")) as target:
        code, out, _ = conformance(target, "--only", "one-winner", "--only", "get-unknown")
    assert code == 9
    assert (
        "FAIL one-winner: step 1, create: wanted 1 conference + 4 conflict, got 5 conference\n"
        "    The contract: When several different requests for one room arrive at the same time, "
        "the backend MUST grant at most one of them.\n"
    ) in out
    assert (
        "FAIL get-unknown: step 1, get: wanted NOT_FOUND, got UNIMPLEMENTED ('no GetConference "
        "here'); if the backend does not implement this method, use --without get\n"
    ) in out
    assert out.endswith("2 cases: 2 failed\n")


def test_a_backend_whose_delete_is_switched_off(target: str) -> None:
    """With `methods.delete = ""` the kit skips the cases that delete, and sends no deletion."""
    settings = validate({"backends": {"a": {"target": target, "methods": {"delete": ""}}}})
    with Kit(settings.backends[BackendName("a")]) as kit:
        needing = [case for case in cases() if "delete" in case.needs]
        assert needing
        assert {kit.run(case).verdict for case in needing} == {Verdict.SKIPPED}


def test_the_kit_makes_no_retries(conformance: Run) -> None:
    """One UNAVAILABLE is a failure, because the kit calls the backend without retries."""

    def create(_: pb.CreateConferenceRequest, context: Context) -> pb.CreateConferenceResponse:
        context.abort(grpc.StatusCode.UNAVAILABLE, "restarting")

    backend = Script(create)
    with serving_grpc(backend) as target:
        code, out, _ = conformance(target, "--only", "id")
    assert code == 9
    assert "wanted conference, got UNAVAILABLE ('restarting')" in out
    assert len(backend.creates) == 2, "one call of the case, and one call of the clean-up"


def test_the_results_as_junit_xml_and_json(conformance: Run, target: str, tmp_path: Path) -> None:
    """The JUnit XML and the JSON contain the same results as the table."""
    junit, document = tmp_path / "junit.xml", tmp_path / "results.json"
    code, out, _ = conformance(target, *QUICK, "--junit", junit, "--json", document)
    assert code == 0
    assert out.endswith("3 cases: 3 passed\n")
    suite = ET.parse(junit).getroot()[0]  # noqa: S314 - we wrote it
    assert suite.attrib["tests"] == "3"
    results = json.loads(document.read_text("utf-8"))
    names = [case.attrib["name"] for case in suite]
    assert names == [case["name"] for case in results["cases"]]
    assert (results["target"], results["counts"], results["left"]) == (target, {"pass": 3}, [])


def test_json_on_stdout_replaces_the_table(conformance: Run, target: str) -> None:
    """With `--json -`, the command prints only JSON."""
    _, out, _ = conformance(target, *QUICK, "--json", "-")
    assert json.loads(out)["counts"] == {"pass": 3}


def test_a_known_failure_does_not_count_but_must_fail(conformance: Run, tmp_path: Path) -> None:
    """A known failure is shown with its reason. A known failure that passes is an error."""
    known = tmp_path / "known.toml"
    with serving_grpc(granting("4711")) as target:
        known.write_text('one-winner = "one thread for now"\n')
        code, out, _ = conformance(target, "--only", "one-winner", "--known-failures", known)
        assert code == 0
        assert "known: one thread for now" in out
        known.write_text('id = "they are long"\n')
        code, out, _ = conformance(target, "--only", "id", "--known-failures", known)
    assert code == 9
    assert (
        "FAIL id: the case is listed as a known failure, but it passes; remove it from the list"
        in out
    )


def test_an_invalid_list_of_known_failures_exits_with_3(conformance: Run, tmp_path: Path) -> None:
    """The kit exits with 3 before it plays a case; the error lists every fault in the file."""
    known = tmp_path / "known.toml"
    known.write_text('nothing = "x"\nget = ""\n')
    code, _, errors = conformance("127.0.0.1:1", "--known-failures", known)
    assert code == 3
    assert (
        "nothing: wanted the name of a case (--list shows the names), got an unknown name" in errors
    )
    assert "get: wanted the reason why the case fails, got ''" in errors


@pytest.mark.parametrize(
    ("argv", "code", "complaint"),
    [
        (["x", "--denied-room", ""], 2, "--denied-room: wanted 1 to 1023 bytes of UTF-8, got ''"),
        ([], 2, "TARGET: wanted a gRPC target, such as 127.0.0.1:50051, got none"),
        (
            ["x", "--only", "zzz"],
            2,
            "--only: wanted the name of a case (--list shows them), got 'zzz'",
        ),
        (["x", "--junit", "/nowhere/x.xml"], 2, "--junit: wanted a writable file, got /nowhere"),
        (["x", "--without", "create"], 2, "invalid choice: 'create'"),
        (["x", "--tls-cert-file", "a"], 3, "backends.target.tls.key_file: wanted a path, because"),
        (
            ["x", "--methods-get", "get"],
            3,
            "wanted a method path of the form /package.Service/Method",
        ),
        (["127.0.0.1:1", "--tls-ca-file", "/nowhere"], 4, "cannot read /nowhere"),
        (["127.0.0.1:1"], 7, "127.0.0.1:1: wanted an answer from the backend, got UNAVAILABLE"),
    ],
)
def test_a_wrong_flag_or_an_unusable_backend_has_its_exit_code(
    conformance: Run, argv: list[str], code: int, complaint: str
) -> None:
    """The command exits with the code for the kind of error, and prints a message."""
    got, out, errors = conformance(*argv)
    assert (got, out) == (code, "")
    assert complaint in errors


def test_the_list_of_cases(conformance: Run) -> None:
    """`--list` prints each case with its sentence. It needs no backend."""
    code, out, _ = conformance("--list")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == [case.name for case in cases()]
    assert re.search(r"^delete-later-one +The backend MUST NOT delete a later", out, re.MULTILINE)


def test_mtls_and_a_token(conformance: Run, tmp_path: Path) -> None:
    """The flags `--tls-*` set mTLS as the settings do, and each call sends the token."""
    authority = Authority(tmp_path)
    token = tmp_path / "token"
    token.write_text("t0ken\n")
    files = authority.client_files()
    flags = [f"--tls-{name.replace('_', '-')}={value}" for name, value in files.items()]
    flags += [f"--tls-ca-file={authority.ca_file}", f"--tls-server-name={SERVER_NAME}"]
    backend = granting()
    credentials = authority.server(client_authority=authority)
    with serving_grpc(backend, credentials) as target:
        code, _, _ = conformance(
            target, *flags, f"--auth-bearer-token-file={token}", "--only", "id"
        )
        assert conformance(target, *flags[2:], "--only", "id")[0] == 7, (
            "the server requires a client certificate"
        )
    assert code == 0
    assert all(metadata["authorization"] == "Bearer t0ken" for metadata in backend.metadata)
    assert all(len(str(metadata["x-incident-id"])) == 12 for metadata in backend.metadata)


def test_other_paths_for_the_same_messages(conformance: Run) -> None:
    """The flags `--methods-*` set the paths of the methods, like the setting `methods`."""
    handler = grpc.unary_unary_rpc_method_handler(
        lambda request, _: pb.CreateConferenceResponse(
            conference=pb.Conference(id="1", room=request.room.raw)
        ),
        pb.CreateConferenceRequest.FromString,
        pb.CreateConferenceResponse.SerializeToString,
    )
    handlers = grpc.method_handlers_generic_handler("acme.Booking", {"Open": handler})
    with ThreadPoolExecutor(4) as executor:
        server = grpc.server(executor, handlers=[handlers])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        target = f"127.0.0.1:{port}"
        chosen = ("--only", "id", "--without", "delete")
        code, out, _ = conformance(target, "--methods-create", "/acme.Booking/Open", *chosen)
        assert conformance(target, *chosen)[0] == 9
        server.stop(0).wait()
    assert code == 0, out


class Halting(ReservationService):
    """A backend that holds back the answer to one request until the test releases it."""

    def __init__(self, store: Store, number: int) -> None:
        super().__init__(store)
        self.asked = threading.Event()
        self.may_answer = threading.Event()
        self._number = number

    def CreateConference(  # noqa: N802 - gRPC's name
        self, request: pb.CreateConferenceRequest, context: Context
    ) -> pb.CreateConferenceResponse:
        """Grant the room, but hold back the answer to the request of this number."""
        response = super().CreateConference(request, context)
        self._number -= 1
        if self._number == 0:
            self.asked.set()
            self.may_answer.wait(TIMEOUT_SECONDS)
        return response


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_deletes_the_conferences(
    store: Store, number: signal.Signals, tmp_path: Path
) -> None:
    """The kit deletes all conferences, prints the results so far, and exits with 130.

    It also deletes a conference whose answer never arrived.
    """
    junit = tmp_path / "junit.xml"
    backend = Halting(store, 4)
    with serving_grpc(backend) as target:
        command = [sys.executable, "-m", "jicofo_reservation_proxy", "conformance", target]
        with subprocess.Popen(
            [*command, "--without", "denial", "--junit", str(junit)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        ) as process:
            assert backend.asked.wait(TIMEOUT_SECONDS)
            assert len(store) == 1
            process.send_signal(number)
            out, errors = process.communicate(timeout=TIMEOUT_SECONDS)
            backend.may_answer.set()
    assert process.returncode == 130
    assert "pass  clients" in out
    assert errors == (
        "deleting the conferences of this run; press Ctrl-C again to leave them at the backend\n"
    )
    assert ET.parse(junit).getroot()[0].attrib["errors"] == "1"  # noqa: S314 - we wrote it
    assert len(store) == 0


def test_a_signal_on_another_thread_interrupts_a_case(store: Store) -> None:
    """The kit cancels its calls, also if the signal does not interrupt the wait of the kit."""
    was_cancelled: SimpleQueue[bool] = SimpleQueue()
    is_called = threading.Event()

    class Signalling(ReservationService):
        def CreateConference(  # noqa: N802 - gRPC's name
            self, request: pb.CreateConferenceRequest, context: Context
        ) -> pb.CreateConferenceResponse:
            """In the first call, raise a signal on this thread; wait until the kit cancels it."""
            if is_called.is_set():
                return super().CreateConference(request, context)
            is_called.set()
            has_ended = threading.Event()
            context.add_callback(has_ended.set)
            signal.raise_signal(signal.SIGTERM)
            was_cancelled.put(has_ended.wait(TIMEOUT_SECONDS))
            return pb.CreateConferenceResponse()

    (case,) = (case for case in cases() if case.name == "id")
    with serving_grpc(Signalling(store)) as target:
        settings = validate({"backends": {"a": {"target": target}}})
        # The settings allow 15 s at most. The call must not end by its deadline here.
        patient = Deadline(timedelta(seconds=2 * TIMEOUT_SECONDS))
        backend = replace(settings.backends[BackendName("a")], answer_within=patient)
        with pytest.raises(KeyboardInterrupt), ended_by_sigterm(), Kit(backend) as kit:
            kit.run(case)
    assert was_cancelled.get(timeout=TIMEOUT_SECONDS)
    assert len(store) == 0


def test_a_backend_that_hangs_does_not_block_the_kit(conformance: Run) -> None:
    """Every call of the kit has a deadline, also the calls of the clean-up."""
    released = threading.Event()

    def create(_: pb.CreateConferenceRequest, __: Context) -> pb.CreateConferenceResponse:
        released.wait(TIMEOUT_SECONDS)
        return pb.CreateConferenceResponse()

    with serving_grpc(Script(create)) as target:
        code, out, _ = conformance(target, "--only", "id", "--answer-within", "1500ms")
        released.set()
    assert code == 9
    assert "wanted conference, got DEADLINE_EXCEEDED" in out


def test_the_kit_stops_after_three_cases_without_an_answer(
    conformance: Run, tmp_path: Path
) -> None:
    """The kit exits with 7, and prints the results of the cases that it played."""
    asked: list[str] = []

    def create(
        request: pb.CreateConferenceRequest, context: Context
    ) -> pb.CreateConferenceResponse:
        asked.append(request.request_id)
        if len(asked) > 3:
            context.abort(grpc.StatusCode.UNAVAILABLE, "going away")
        return granting().create(request, context)

    junit = tmp_path / "junit.xml"
    with serving_grpc(Script(create)) as target:
        code, out, errors = conformance(target, "--junit", junit)
    assert code == 7
    assert "pass  clients" in out
    assert (
        "got none in 3 cases in a row; check that it is still running. The last case was" in errors
    )
    assert ET.parse(junit).getroot()[0].attrib["errors"] == "1"  # noqa: S314 - we wrote it


def test_the_output_counts_requests_that_got_no_answer(conformance: Run) -> None:
    """The kit counts the requests that got no answer, even after a repetition.

    Each of these requests may have created a conference.
    """

    def create(_: pb.CreateConferenceRequest, context: Context) -> pb.CreateConferenceResponse:
        context.abort(grpc.StatusCode.INTERNAL, "a bug")

    with serving_grpc(Script(create)) as target:
        code, out, _ = conformance(target, "--only", "id")
    assert code == 9
    assert out.endswith("requests without an answer that may have created a conference: 1\n")


def test_a_time_out_of_range_is_a_failure(conformance: Run) -> None:
    """If a time is out of range, the case fails and the kit plays the next case."""
    wild = Timestamp(seconds=1, nanos=-(2**31))
    with serving_grpc(granting(start_time=wild)) as target:
        code, out, _ = conformance(target, "--only", "repeat", "--only", "unlimited")
    assert code == 9
    assert "2 cases: 1 passed, 1 failed" in out
    assert "start_time: wanted a time in the years 1 to 9999, got 1 s -2147483648 ns" in out


def test_a_full_disk_loses_no_result(conformance: Run, target: str) -> None:
    """The command prints the table before it writes files, so a full disk loses no result."""
    code, out, errors = conformance(target, *QUICK, "--json", "/dev/full")
    assert code == 3
    assert out.endswith("3 cases: 3 passed\n")
    assert "--json: cannot be written: No space left on device (/dev/full)" in errors


def test_a_kit_without_a_target_is_refused() -> None:
    """`Kit` checks its target with the rules for the setting `target`."""
    with pytest.raises(SettingsError, match=r"backends\.target\.target: wanted a URL"):
        Kit("")


def test_the_kit_in_a_test_suite(target: str) -> None:
    """`raise_for_failure` raises an error for a failed case; `run` skips excluded cases."""
    chosen = {case.name: case for case in cases()}
    with Kit(target, without={"denial"}) as kit:
        kit.run(chosen["get"]).raise_for_failure()
        assert kit.run(chosen["denial-message"]).verdict is Verdict.SKIPPED
        with pytest.raises(
            AssertionError, match="health: step 1, health: wanted SERVING, got UNIM"
        ):
            kit.run(chosen["health"]).raise_for_failure()
    assert kit.left == ()


def test_the_test_suite_in_the_documentation_works(target: str, tmp_path: Path) -> None:
    """The code in docs/backends.md works, with the address of the test backend."""
    page = (Path(__file__).parents[2] / "docs/backends.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert "127.0.0.1:50051" in code
    suite = tmp_path / "test_it.py"
    suite.write_text(code.replace("127.0.0.1:50051", target))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "get", str(suite)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout

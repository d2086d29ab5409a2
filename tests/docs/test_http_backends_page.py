"""Tests of docs/http-backends.md: its tables are those of the code, and its commands work."""

import itertools
import json
import re
import shlex
import socketserver
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from jicofo_reservation_proxy import __version__
from jicofo_reservation_proxy.backends import conference_rules, retries
from jicofo_reservation_proxy.backends.http import connections, kept_connections, lenient_values
from jicofo_reservation_proxy.backends.http.answer_bodies import (
    MAX_SENTENCE_CHARACTERS,
    Body,
    BodyKind,
    read_body,
)
from jicofo_reservation_proxy.backends.http.http_statuses import (
    FAULT_KINDS,
    Meaning,
    of_create,
    of_delete,
    of_get,
)
from jicofo_reservation_proxy.commands import main as cli
from jicofo_reservation_proxy.http.answers import DENIED, FAULT_ANSWERS
from jicofo_reservation_proxy.model import FaultKind
from jicofo_reservation_proxy.settings.schema import AnswerFields, Http, RequestFields
from jicofo_reservation_proxy.text_rules import format_time

from tests.e2e.support import JICOFO, PATIENT, TIMEOUT_SECONDS, Client, running

PAGE = (Path(__file__).parents[2] / "docs/http-backends.md").read_text("utf-8")
SENTENCE = "Only staff may open rooms."
GONE_STATUS = 418
"""A status that is one of `gone_statuses` in the tests of the tables."""

COLUMNS: Mapping[str, tuple[bytes, ...]] = {
    "a JSON object": (b"{}", b'\xef\xbb\xbf{"id": 1}'),
    "plain text": (b"no", b'"no"'),
    "empty or other JSON": (b"", b" \r\n", b"null", b"17", b"[]", b'""'),
    "unreadable": (b'{"id": 1', b"[1, NaN]", b"caf\xe9"),
    "an HTML page": (b"<!DOCTYPE html>", b"oops <br/>", b'"<p>no</p>"'),
}
"""The columns of the tables of meanings, with examples of such bodies."""

OTHER = "another"


def _rows(text: str) -> list[list[str]]:
    """Return the cells of the first table in a text, without its head."""
    table = re.search(r"(?:^ *\|.*\|\n)+", text, re.MULTILINE)
    assert table
    lines = [line.strip()[1:-1] for line in table[0].splitlines()]
    return [[cell.strip() for cell in line.split("|")] for line in [lines[0], *lines[2:]]]


def _table(head: str) -> list[list[str]]:
    """Return the rows of the table with this head."""
    assert PAGE.count(head) == 1, head
    return _rows(PAGE[PAGE.index(head) :])[1:]


def _word(meaning: Meaning) -> str:
    """Return the word of the page for a meaning."""
    return "not needed" if meaning is Meaning.NO_DELETE else meaning.value


def _quoted(cell: str) -> str:
    """Return the text between the backquotes of a cell."""
    (text,) = re.findall(r"`([^`]+)`", cell)
    return str(text)


class _Meanings:
    """A table of meanings of the page, as a function of a status and a column."""

    def __init__(self, method: str) -> None:
        head, *rows = _rows(PAGE.partition(f"\n**To a {method}:**\n")[2])
        assert head == ["status", *COLUMNS]
        self._cells = {row[0]: dict(zip(COLUMNS, row[1:], strict=True)) for row in rows}
        self.used: set[str] = set()

    def cell(self, status: int, column: str, *, has_credentials: bool = False) -> str:
        """Return the cell for an answer."""
        row = next(row for row in self._cells if self._is_of(row, status, has_credentials))
        self.used.add(row)
        return self._cells[row][column]

    @property
    def is_used(self) -> bool:
        """Whether every row was asked for."""
        return self.used == self._cells.keys()

    @staticmethod
    def _is_of(row: str, status: int, has_credentials: bool) -> bool:
        if row == "one of `gone_statuses`":
            return status == GONE_STATUS
        if match := re.fullmatch(r"(?:another from )?(\d+) (?:to )(\d+)", row):
            return int(match[1]) <= status <= int(match[2])
        if match := re.fullmatch(r"403, and the proxy sends (no )?credentials", row):
            return status == 403 and has_credentials is not bool(match[1])
        return row == OTHER or str(status) in row.split(", ")


def _answers() -> Iterator[tuple[int, str, Body]]:
    """Yield every status with a body of every kind, and the column of that kind."""
    for status, (column, examples) in itertools.product(range(100, 600), COLUMNS.items()):
        for example in examples:
            yield status, column, read_body(example)


def test_the_columns_are_all_kinds_of_bodies() -> None:
    """Each kind of body belongs to one column."""
    kinds = [{read_body(example).kind for example in examples} for examples in COLUMNS.values()]
    assert set.union(*kinds) == set(BodyKind)
    assert sum(map(len, kinds)) == len(BodyKind)


@pytest.mark.parametrize("has_credentials", [False, True])
@pytest.mark.parametrize("sentence", ["", SENTENCE])
def test_the_meanings_of_answers_to_a_create(sentence: str, has_credentials: bool) -> None:
    """The table has the meaning of every status with every body."""
    table = _Meanings("create")
    for status, column, body in _answers():
        cell = table.cell(status, column, has_credentials=has_credentials)
        if cell == "denied with a sentence, otherwise fault":
            cell = "denied" if sentence else "fault"
        # Only an object and a text can have a sentence.
        said = sentence if body.kind in {BodyKind.OBJECT, BodyKind.TEXT} else ""
        found = of_create(status, body, sentence=said, has_credentials=has_credentials)
        assert cell == _word(found), (status, column)


def test_the_meanings_of_answers_to_a_get() -> None:
    """The table has the meaning of every status with every body."""
    table = _Meanings("GET")
    for status, column, body in _answers():
        found = of_get(status, body, [GONE_STATUS])
        assert table.cell(status, column) == _word(found), (status, column)
    assert table.is_used


def test_the_meanings_of_answers_to_a_delete() -> None:
    """The table has the meaning of every status with every body."""
    table = _Meanings("DELETE")
    for status, column, body in _answers():
        found = of_delete(status, body, [GONE_STATUS])
        assert table.cell(status, column) == _word(found), (status, column)
    assert table.is_used


def test_every_meaning_is_explained() -> None:
    """The table of words has each meaning once."""
    words = [row[0] for row in _table("| word | what the proxy does |")]
    assert sorted(words) == sorted(map(_word, Meaning))
    assert f'"{DENIED}"' in PAGE


def test_the_kinds_of_faults() -> None:
    """The table has the kind of each status, with the sentence that a user reads."""
    rows = _table("| fault | kind | answer to the client |")
    kinds = {int(status): kind for what, kind, _ in rows for status in re.findall(r"\d+", what)}
    assert kinds == {status: kind.value for status, kind in FAULT_KINDS.items()}
    assert rows[-1][:2] == ["any other", FaultKind.BROKEN.value]
    for _, kind, answer in rows:
        status, sentence = FAULT_ANSWERS[FaultKind(kind)]
        assert answer == f'{status}, "{sentence}"'


def test_the_answers_that_are_not_about_a_deletion() -> None:
    """The page names the statuses that do not end the wait for a lost answer."""
    (listed,) = re.findall(r"that are not HTTP, ([\d,\s or]+),\s+which", PAGE)
    assert set(map(int, re.findall(r"\d+", listed))) == set(FAULT_KINDS)


def test_the_sentences_of_refusals() -> None:
    """The user reads what the table says; "" means that the body has no sentence."""
    rows = _table("| body of a refusal | the user reads |")
    assert {read for _, read in rows} == {SENTENCE, ""}
    for cell, read in rows:
        body = read_body(_quoted(cell).encode())
        assert body.sentence(AnswerFields().message) == read, cell


def _forms(field: str) -> list[tuple[Any, str]]:
    """Return the values of a field, and what each of them is."""
    rows = _table(f"| `{field}` | is |")
    return [(json.loads(_quoted(cell)), read) for cell, read in rows]


@pytest.mark.parametrize(("value", "read"), _forms("id"))
def test_the_forms_of_ids(value: object, read: str) -> None:
    """Each form of an id is read as the page says."""
    assert lenient_values.read_text("id", value) == read


@pytest.mark.parametrize(("value", "read"), _forms("start_time"))
def test_the_forms_of_times(value: object, read: str) -> None:
    """Each form of a time is read as the page says."""
    found = lenient_values.read_time("start_time", value)
    zone = "" if found.has_zone else ", without a zone"
    assert format_time(found.epoch_ms) + zone == read


@pytest.mark.parametrize(("value", "read"), _forms("duration"))
def test_the_forms_of_durations(value: object, read: str) -> None:
    """Each form of a duration is read as the page says."""
    found = lenient_values.read_duration("duration", value, seconds_of_unit=1)
    assert ("no limit" if found is None else f"{found} s") == read


def test_the_forms_of_flags() -> None:
    """Each form of `lobby` that the page lists is a flag, and another value is none."""
    (row,) = re.findall(r"^\| `lobby` \| (.*?)\. ", PAGE, re.MULTILINE)
    values = [json.loads(value) for value in re.findall(r"`([^`]+)`", row)]
    assert [lenient_values.read_flag(value) for value in values] == [True, False] * 4
    assert lenient_values.read_flag("yes") is None


def test_the_limits_of_the_page() -> None:
    """The numbers on the page are those of the code."""
    assert f"{connections.MAX_BODY_BYTES // 1024} KiB; a longer one is a fault" in PAGE
    assert f"| {kept_connections.MAX_IDLE_SECONDS:.0f} s |" in PAGE
    assert f"one line of at most {MAX_SENTENCE_CHARACTERS} characters" in PAGE
    assert f"from {lenient_values.MILLISECONDS_FROM:,} on milliseconds" in PAGE
    assert f"An id has 1 to {conference_rules.MAX_ID_BYTES} bytes" in PAGE
    assert f"at most {conference_rules.MAX_SECRET_BYTES} bytes without control" in PAGE
    assert f"a text of at most {conference_rules.MAX_URL_BYTES} bytes" in PAGE
    assert retries.MAX_ATTEMPTS == 5
    assert "There are up to five attempts" in PAGE


def test_every_setting_of_the_api_is_on_the_page() -> None:
    """The page names each key of `http` and of the tables below it."""
    names = [*Http.__dataclass_fields__, *RequestFields.__dataclass_fields__]
    for name in (*names, *AnswerFields.__dataclass_fields__):
        assert re.search(rf"\b{name}\b", PAGE), name


class _Handbook(socketserver.ThreadingTCPServer):
    """A backend as the page describes one; it keeps the bytes of the requests."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.requests: list[bytes] = []
        self.conferences: dict[str, dict[str, Any]] = {}
        self.lock = threading.Lock()
        self._ids = itertools.count(17)

    def answer(self, method: str, path: str, body: str) -> tuple[str, object]:
        """Return the status line and the JSON of an answer."""
        conference_id = path.rpartition("/")[2]
        with self.lock:
            if method == "POST":
                form = {name: values[0] for name, values in parse_qs(body).items()}
                return "200 OK", self._created(form)
            if conference_id not in self.conferences:
                return "404 Not Found", {}
            if method == "DELETE":
                del self.conferences[conference_id]
                return "200 OK", {}
            return "200 OK", self.conferences[conference_id]

    def _created(self, form: Mapping[str, str]) -> dict[str, Any]:
        number = next(self._ids)
        found = {**form, "id": number, "duration": int(form["duration"])}
        self.conferences[str(number)] = found
        return found


class _Connection(socketserver.StreamRequestHandler):
    """Reads requests and answers them, until the proxy closes the connection."""

    timeout = TIMEOUT_SECONDS
    server: _Handbook

    def handle(self) -> None:
        """Answer the requests of one connection."""
        while head := self._head():
            length = re.search(rb"(?im)^content-length: (\d+)", head)
            body = self.rfile.read(int(length[1])) if length else b""
            self.server.requests.append(head + b"\r\n" + body)
            method, path = head.decode("ascii").split()[:2]
            status, content = self.server.answer(method, path, body.decode("ascii"))
            text = json.dumps(content)
            self.wfile.write(
                f"HTTP/1.1 {status}\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode()
            )

    def _head(self) -> bytes:
        """Read the lines before the body; return nothing at the end of the connection."""
        lines = []
        while (line := self.rfile.readline()) not in {b"", b"\r\n"}:
            lines.append(line)
        return b"".join(lines)


@contextmanager
def _serving() -> Iterator[_Handbook]:
    """Serve a backend on a free port; yield it."""
    with _Handbook() as backend:
        thread = threading.Thread(target=backend.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield backend
        finally:
            backend.shutdown()
            thread.join()


def _target(backend: _Handbook) -> str:
    return f"http://127.0.0.1:{backend.server_address[1]}/api/v1"


def _normal(request: str) -> str:
    """Return a request without what is different each time: the port, the ids, the version."""
    request = re.sub(r"Host: 127\.0\.0\.1:\d+", "Host: HOST", request)
    request = re.sub(r"X-Incident-Id: [0-9a-f]{12}\n", "X-Incident-Id: ID\n", request)
    request = re.sub(r"Idempotency-Key: [0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\n", "", request)
    return request.replace(f"proxy/{__version__}", "proxy/VERSION").strip()


def test_the_requests_of_the_proxy(tmp_path: Path) -> None:
    """The backend gets the three requests of the page, byte by byte; the body may be JSON."""
    shown = [_normal(text) for text in re.findall(r"```http\n(.*?)```", PAGE, re.DOTALL)]
    (document,) = re.findall(r"```json\n(.*?)\n```", PAGE, re.DOTALL)
    fields = {"mail_owner": "juliet@example.com", "start_time": "2048-04-20T17:55:12.000Z"}
    with _serving() as backend:
        default = {**PATIENT, "target": _target(backend)}
        with running(tmp_path / "form", backends={"default": default}) as proxy:
            client = Client(proxy.port, JICOFO)
            assert client.create("[acme]board", **fields, duration="-1").json["id"] == 17
            assert client.get(17).status == 200
            assert client.delete(17).status == 200
        received = [request.decode("ascii").replace("\r\n", "\n") for request in backend.requests]
        assert [_normal(text) for text in received] == shown
        assert all(b"Idempotency-Key: " in text for text in backend.requests[:1])

        backend.requests.clear()
        as_json = {**default, "http": {"body": "json"}}
        with running(tmp_path / "json", backends={"default": as_json}) as proxy:
            Client(proxy.port, JICOFO).create("[acme]board", **fields, duration="-1")
        head, _, body = backend.requests[0].decode("ascii").partition("\r\n\r\n")
        assert "\r\nContent-Type: application/json" in head
        assert body == document


def _commands(name: str) -> list[list[str]]:
    """Return the arguments of each command of this name on the page."""
    lines = re.findall(rf"^ *jicofo-reservation-proxy ({name} .*)$", PAGE, re.MULTILINE)
    assert lines
    return [shlex.split(line) for line in lines]


def test_the_first_commands_work_as_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`check` finds the backend, `call` opens a room and gives it back."""
    (settings,) = re.findall(r"   ```toml\n(.*?)   ```", PAGE, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    # A proxy of the developer may use the default addresses.
    monkeypatch.setenv("JICOFO_RESERVATION_PROXY_LISTEN", "127.0.0.1:0")
    monkeypatch.setenv("JICOFO_RESERVATION_PROXY_ADMIN_LISTEN", '""')
    with _serving() as backend:
        assert "http://127.0.0.1:8080/api/v1" in settings
        Path("settings.toml").write_text(
            settings.replace("http://127.0.0.1:8080/api/v1", _target(backend))
        )
        (check,) = _commands("check")
        assert cli.main(check) == 0
        found = capsys.readouterr().out
        assert re.search(r"^backends\.default: ok, answered in \d+ ms$", found, re.MULTILINE)
        create, delete = _commands("call")
        assert cli.main(create) == 0
        opened = json.loads(capsys.readouterr().out.partition("\n")[2])
        assert re.sub(r"\d{9,}", "N", opened["id"]) == re.sub(r"\d{9,}", "N", delete[2])
        assert len(backend.conferences) == 1
        delete[2] = opened["id"]
        assert cli.main(delete) == 0
        assert backend.conferences == {}
    assert (tmp_path / "state").is_dir()


@pytest.mark.parametrize("arguments", _commands("simulate"), ids=lambda words: words[2])
def test_simulated_users_open_rooms_as_typed(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both simulated clients open and close all rooms."""
    with _serving() as backend:
        default = {**PATIENT, "target": _target(backend)}
        with running(tmp_path / "state", threads=64, backends={"default": default}) as client:
            assert arguments[3:] == ["--rooms", "20", "--lifetime", "2s"]
            quick = [*arguments[:-1], "100ms", "--listen", f"127.0.0.1:{client.port}"]
            assert cli.main(quick) == 0, capsys.readouterr().out
    assert backend.conferences == {}


@pytest.mark.parametrize(
    "name", ["check", "call", "serve", "simulate", "reload", "status"], ids=lambda name: name
)
def test_the_flags_of_the_commands_exist(name: str) -> None:
    """Each command of the page is a command line that the program accepts."""
    parse: Callable[[list[str]], object] = cli._parser(name).parse_args
    for arguments in _inline(name):
        assert parse(arguments)


def _inline(name: str) -> list[list[str]]:
    """Return the command lines of a command, also those in a sentence."""
    lines = re.findall(rf"jicofo-reservation-proxy ({name} [^`\n]*)", PAGE)
    assert lines
    return [shlex.split(line) for line in lines]

"""The log: each event is one line, whatever the event contains."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jicofo_reservation_proxy.observability import logs
from jicofo_reservation_proxy.observability.logs import Fields, JsonFormatter, TextFormatter

any_text = st.text(st.characters(exclude_categories=[]), max_size=40)
fields = st.dictionaries(
    st.from_regex(r"[a-z]{1,8}", fullmatch=True),
    any_text | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    max_size=5,
)


def record(
    message: str, values: Fields | None = None, error: BaseException | None = None
) -> logging.LogRecord:
    """Return the record of an event at 2048-04-20T17:55:12.345Z."""
    made = logging.LogRecord("x", logging.WARNING, "x.py", 1, message, (), None)
    made.created, made.msecs = 2_471_018_112.345, 345.9
    if values is not None:
        made.fields = values
    if error is not None:
        made.exc_info = (type(error), error, error.__traceback__)
    return made


def raised() -> ValueError:
    """Return an error that was raised, so that it has a traceback."""
    with pytest.raises(ValueError, match="b") as caught:
        raise ValueError("a\nb")
    return caught.value


@pytest.mark.parametrize(
    ("message", "values", "line"),
    [
        ("create", None, "create"),
        ("create", {}, "create"),
        (
            "create",
            {"room": "board", "ms": 1.5, "status": 200},
            "create room=board ms=1.5 status=200",
        ),
        ("create", {"room": "caf\u00e9"}, "create room=caf\u00e9"),
        ("create", {"room": ""}, 'create room=""'),
        ("create", {"room": "a b"}, 'create room="a b"'),
        ("create", {"room": "a=b"}, 'create room="a=b"'),
        ("create", {"room": 'a"b'}, 'create room="a\\"b"'),
        ("create", {"room": "a\\b"}, 'create room="a\\\\b"'),
        ("create", {"room": "a\nb"}, 'create room="a\\nb"'),
        ("create", {"room": "a\x85b\u2028c"}, 'create room="a\\u0085b\\u2028c"'),
        ("create", {"room": "a\x7fb\x9bc"}, 'create room="a\\u007fb\\u009bc"'),
        ("a b, c", None, "a b, c"),
        ("caf\u00e9", None, "caf\u00e9"),
        ("a\nb", None, '"a\\nb"'),
        ("a\x1b[31mb", None, '"a\\u001b[31mb"'),
        ("", None, ""),
    ],
)
def test_text_lines(message: str, values: Fields | None, line: str) -> None:
    """A text line has the time, the level, the message and the fields. Ambiguous texts are JSON."""
    assert TextFormatter().format(record(message, values)) == (
        f"2048-04-20T17:55:12.345Z WARNING {line}"
    )


@pytest.mark.parametrize(
    ("message", "values", "line"),
    [
        ("create", None, '"message": "create"}'),
        ("a\nb", {}, '"message": "a\\nb"}'),
        (
            "create",
            {"room": "caf\u00e9", "status": 200, "ms": 1.5},
            '"message": "create", "room": "caf\\u00e9", "status": 200, "ms": 1.5}',
        ),
    ],
)
def test_json_lines(message: str, values: Fields | None, line: str) -> None:
    """A JSON line is one object: the time, the level in lower case, the message and the fields."""
    assert JsonFormatter().format(record(message, values)) == (
        '{"time": "2048-04-20T17:55:12.345Z", "level": "warning", ' + line
    )


def test_exceptions_stay_on_the_line() -> None:
    """The traceback of an exception is one more field of the line."""
    text = TextFormatter().format(record("failed", {"x": 1}, raised()))
    head, trace = text.split(" exception=")
    assert head == "2048-04-20T17:55:12.345Z WARNING failed x=1"
    fields = json.loads(JsonFormatter().format(record("failed", {"x": 1}, raised())))
    assert fields["x"] == 1
    for written in (json.loads(trace), fields["exception"]):
        assert written.startswith("Traceback (most recent call last):\n")
        assert written.endswith("\nValueError: a\nb")


@given(message=any_text, values=fields)
@settings(max_examples=150)
def test_always_one_line(message: str, values: Fields) -> None:
    """Each format writes any event as one line, and the JSON line gives back the same values."""
    made = record(message, values, raised())
    assert len(TextFormatter().format(made).splitlines()) == 1
    line = JsonFormatter().format(made)
    assert line.isascii()
    assert len(line.splitlines()) == 1
    written = json.loads(line)
    if not values.keys() & {"time", "level", "message", "exception"}:
        assert written["message"] == message
        assert {key: written[key] for key in values} == values


@given(values=st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True), any_text, min_size=1))
@settings(max_examples=100)
def test_pairs_can_be_separated(values: dict[str, str]) -> None:
    """A text line can be split into its pairs: an unquoted value has no space and no quote."""
    line = TextFormatter().format(record("x", values))
    rest = line.removeprefix("2048-04-20T17:55:12.345Z WARNING x ")
    found = {}
    while rest:
        key, _, rest = rest.partition("=")
        if rest.startswith('"'):
            value, end = json.JSONDecoder().raw_decode(rest)
            rest = rest[end + 1 :]
        else:
            value, _, rest = rest.partition(" ")
        found[key] = value
    assert found == values


@pytest.fixture
def _restored_logging() -> Iterator[None]:
    """Remove the root handlers; after the test, restore them and the levels of both loggers."""
    loggers = [logging.getLogger(name) for name in (None, logs.ROOT)]
    levels = [logger.level for logger in loggers]
    handlers, loggers[0].handlers = loggers[0].handlers, []
    yield
    loggers[0].handlers = handlers
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.mark.usefixtures("_restored_logging")
def test_configure() -> None:
    """The configured level applies to the proxy. Libraries log only warnings and errors."""
    stream = io.StringIO()
    logs.configure("json", "debug", stream)
    logs.event(logging.getLogger(f"{logs.ROOT}.web"), logging.DEBUG, "create", {"status": 200})
    logging.getLogger("grpc").info("not worth a line")
    logging.getLogger("grpc").warning("%d worth a line", 1)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["level"], line["message"], line.get("status")) for line in lines] == [
        ("debug", "create", 200),
        ("warning", "1 worth a line", None),
    ]


@pytest.mark.usefixtures("_restored_logging")
def test_configure_again() -> None:
    """A later configuration replaces the earlier one."""
    first, second = io.StringIO(), io.StringIO()
    logs.configure("json", "info", first)
    logs.configure("text", "warning", second)
    logging.getLogger(f"{logs.ROOT}.web").info("not worth a line")
    logs.event(logging.getLogger(f"{logs.ROOT}.web"), logging.ERROR, "create", {"room": "a b"})
    assert first.getvalue() == ""
    assert second.getvalue().split(" ", 1)[1] == 'ERROR create room="a b"\n'


@pytest.mark.usefixtures("_restored_logging")
def test_lines_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    """Without an explicit stream, the log goes to standard error."""
    logs.configure("text", "info")
    logging.getLogger(logs.ROOT).info("ready")
    assert capsys.readouterr().err.endswith("Z INFO ready\n")


@pytest.mark.usefixtures("_restored_logging")
@pytest.mark.parametrize("stream", [None, io.StringIO()])
def test_a_stream_that_cannot_be_written_harms_nobody(
    monkeypatch: pytest.MonkeyPatch, stream: io.StringIO | None
) -> None:
    """Standard error may be closed: `sys.stderr` is then `None`, or a closed file."""
    if stream:
        stream.close()
    monkeypatch.setattr("sys.stderr", stream)
    logs.configure("text", "info")
    logs.event(logging.getLogger(f"{logs.ROOT}.web"), logging.INFO, "create", {"status": 200})


@pytest.mark.usefixtures("_restored_logging")
def test_warnings_are_remembered() -> None:
    """The last warnings and errors are remembered, events and records alike; no other lines."""
    logs.configure("text", "info", io.StringIO())
    logger = logging.getLogger(f"{logs.ROOT}.test")
    logger.info("not remembered")
    logger.warning("a %s", "record")
    logs.event(logger, logging.INFO, "not remembered", {})
    logs.event(logger, logging.ERROR, "an event", {"room": "board"})
    assert [(found.level, found.message, found.fields) for found in logs.recent_warnings()] == [
        ("ERROR", "an event", {"room": "board"}),
        ("WARNING", "a record", {}),
    ]
    for _ in range(logs.MAX_WARNINGS + 1):
        logger.warning("one more")
    assert len(logs.recent_warnings()) == logs.MAX_WARNINGS


def test_the_recent_warnings_survive_another_format() -> None:
    """A reload that changes the format of the log does not clear the status page."""
    root = logging.getLogger()
    before = list(root.handlers)
    root.handlers[:] = []
    try:
        logs.configure("text", "info", io.StringIO())
        logging.getLogger(logs.ROOT).warning("first")
        logging.getLogger(logs.ROOT).warning("second")
        logs.configure("json", "info", io.StringIO())
        assert [warned.message for warned in logs.recent_warnings()] == ["second", "first"]
    finally:
        root.handlers[:] = before

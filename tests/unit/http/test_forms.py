"""The form of POST /conference: the forms that both clients send, and the mistakes in forms."""

import itertools
import uuid
from datetime import datetime, timedelta
from random import Random
from urllib.parse import parse_qsl, quote, urlencode

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jicofo_reservation_proxy.http.forms import (
    MAX_BODY_BYTES,
    MAX_DURATION_SECONDS,
    MAX_FIELDS,
    parse_create,
    parse_java_time,
    parse_room,
)
from jicofo_reservation_proxy.http.owners import guest_test, parse_owner
from jicofo_reservation_proxy.model import (
    FIRST_SECOND,
    LAST_SECOND,
    BadInput,
    CreateRequest,
    Owner,
    Room,
)

TYPE = "application/x-www-form-urlencoded"
START = "2048-04-20T17:55:12.000Z"
START_MS = 2_471_018_112_000
FORM = {"name": "board", "mail_owner": "juliet@example.com", "start_time": START}
EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - these tests use naive times, all UTC


def accepted(body: bytes, content_type: str = TYPE) -> CreateRequest:
    """Return the request in a body that the parser must accept."""
    request = parse_create(content_type, body, guest_test(()))
    assert isinstance(request, CreateRequest)
    return request


def parsed(**fields: str) -> CreateRequest:
    """Return the request in the usual form with these fields changed or added."""
    return accepted(urlencode(FORM | fields).encode())


def refused(body: bytes, content_type: str = TYPE) -> BadInput:
    """Return the mistake in a body that the parser must refuse."""
    wrong = parse_create(content_type, body, guest_test(()))
    assert isinstance(wrong, BadInput)
    return wrong


def bad(**fields: str) -> BadInput:
    """Return the mistake in the usual form with these fields changed or added."""
    return refused(urlencode(FORM | fields).encode())


def test_what_jicofo_sends() -> None:
    """Jicofo's form, with its fixed order, `duration=-1` and a charset, is read completely."""
    request = accepted(
        b"name=board&mail_owner=juliet%40example.com"
        b"&start_time=2048-04-20T17%3A55%3A12.345-06&duration=-1",
        "application/x-www-form-urlencoded; charset=UTF-8",
    )
    assert request == CreateRequest(
        request_id=request.request_id,
        room=Room(raw="board", tenant="", name="board"),
        mail_owner="juliet@example.com",
        owner=Owner(raw="juliet@example.com", user="juliet", domain="example.com"),
        start_time_ms=START_MS + 6 * 3_600_000 + 345,
        duration_seconds=None,
        extra_fields={},
    )


@pytest.mark.parametrize("order", list(itertools.permutations(FORM)))
def test_what_prosody_sends(order: tuple[str, ...]) -> None:
    """Prosody's form, in any order and without charset or duration, gives the same request."""
    request = accepted(urlencode([(key, FORM[key]) for key in order]).encode())
    assert request == parsed()
    assert request.start_time_ms == START_MS
    assert request.duration_seconds is None


@pytest.mark.parametrize(
    "content_type",
    [
        TYPE,
        f"{TYPE};charset=utf-8",
        f"{TYPE}; charset=UTF-8",
        f"{TYPE} ; CHARSET = utf8",
        f'{TYPE}; charset="UTF-8"',
        f"{TYPE}; charset=US-ASCII",
        f"{TYPE}; boundary=x; charset=utf-8",
        f"{TYPE}; xcharset=latin-1",
        "Application/X-WWW-Form-URLEncoded",
    ],
)
def test_content_types_that_are_accepted(content_type: str) -> None:
    """A charset is optional, may be quoted, and may be in upper or lower case."""
    assert accepted(urlencode(FORM).encode(), content_type) == parsed()


@pytest.mark.parametrize(
    ("content_type", "message"),
    [
        ("", f"Content-Type: wanted {TYPE}, got ''."),
        ("application/json", f"Content-Type: wanted {TYPE}, got 'application/json'."),
        ("multipart/form-data", f"Content-Type: wanted {TYPE}, got 'multipart/form-data'."),
        (f"{TYPE}x", f"Content-Type: wanted {TYPE}, got '{TYPE}x'."),
        ("caf\u00e9", f"Content-Type: wanted {TYPE}, got 'caf\\xe9'."),
        (f"{TYPE}; charset=iso-8859-1", "Content-Type: wanted charset UTF-8, got 'iso-8859-1'."),
        (f'{TYPE};charset="utf-16"', "Content-Type: wanted charset UTF-8, got 'utf-16'."),
    ],
)
def test_content_types_that_are_refused(content_type: str, message: str) -> None:
    """Another type or charset gives 415. The message shows the wanted and the given value."""
    assert refused(urlencode(FORM).encode(), content_type) == BadInput(415, message)


def test_a_long_content_type_is_cut_in_the_message() -> None:
    """The message shows at most 60 characters of the given value."""
    assert refused(b"", "x" * 60).message == f"Content-Type: wanted {TYPE}, got '{'x' * 60}'."
    assert refused(b"", "x" * 61).message == f"Content-Type: wanted {TYPE}, got '{'x' * 60}...'."


def test_the_type_is_checked_before_the_body() -> None:
    """The parser does not read a body of another type as a form."""
    assert refused(b"\xff", "application/json").status == 415


@pytest.mark.parametrize(
    ("sent", "raw", "name"),
    [
        (b"caf%C3%A9", "caf\u00e9", "caf\u00e9"),
        (b"caf\xc3\xa9", "caf\u00e9", "caf\u00e9"),
        (b"caf%25c3%25a9", "caf%c3%a9", "caf\u00e9"),
        (b"two+words", "two words", "two words"),
        (b"a%2Bb", "a+b", "a+b"),
        (b"100%25", "100%", "100%"),
        (b"100%", "100%", "100%"),
        (b"a%253Db%26c", "a%3Db&c", "a=b&c"),
        (b"%25F0%259F%258E%2589", "%F0%9F%8E%89", "\U0001f389"),
        (b"caf%25e9", "caf%e9", "caf%e9"),
        (b"tab%2509", "tab%09", "tab%09"),
        (b"line%25E2%2580%25A8", "line%E2%80%A8", "line%E2%80%A8"),
    ],
)
def test_rooms_have_the_name_as_sent_and_decoded(sent: bytes, raw: str, name: str) -> None:
    """A room has its name as sent, and percent-decoded if that gives printable UTF-8."""
    request = accepted(b"start_time=2048-04-20T17:55:12.000Z&name=" + sent)
    assert request.room == Room(raw=raw, tenant="", name=name)


@pytest.mark.parametrize(
    ("raw", "tenant", "name"),
    [
        ("[acme]board", "acme", "board"),
        ("[acme]caf%c3%a9", "acme", "caf\u00e9"),
        ("[%c3%a9t%c3%a9]board", "\u00e9t\u00e9", "board"),
        ("[acme][x]board", "acme", "[x]board"),
        ("[acme]x]", "acme", "x]"),
        ("[acme]", "", "[acme]"),
        ("[]board", "", "[]board"),
        ("[a[b]board", "", "[a[b]board"),
        ("x[acme]board", "", "x[acme]board"),
        ("[acme", "", "[acme"),
        ("[acme]two\nlines", "acme", "two\nlines"),
        ("[%e9]caf%c3%a9", "%e9", "caf\u00e9"),
    ],
)
def test_rooms_are_split_into_tenant_and_name(raw: str, tenant: str, name: str) -> None:
    """Only `[tenant]room` has a tenant; tenant and name are percent-decoded separately."""
    assert parse_room(raw) == Room(raw=raw, tenant=tenant, name=name)


@pytest.mark.parametrize(
    ("raw", "user", "domain"),
    [
        ("juliet@example.com", "juliet", "example.com"),
        ("a@b@example.com", "a@b", "example.com"),
        ("juliet", "juliet", ""),
        ("@example.com", "", "example.com"),
        ("juliet@", "juliet", ""),
    ],
)
def test_owners_are_split_at_the_last_at_sign(raw: str, user: str, domain: str) -> None:
    """The domain follows the last "@"; without an "@", the whole text is the user."""
    assert parse_owner(raw, guest_test(())) == Owner(raw=raw, user=user, domain=domain)
    assert parsed(mail_owner=raw).owner == Owner(raw=raw, user=user, domain=domain)


def test_a_missing_owner_is_not_an_empty_one() -> None:
    """Both mean that the request has no owner, but the request keeps the difference."""
    missing = accepted(urlencode({"name": "board", "start_time": START}).encode())
    empty = parsed(mail_owner="")
    assert (missing.mail_owner, missing.owner) == (None, None)
    assert (empty.mail_owner, empty.owner) == ("", None)
    assert missing.request_id != empty.request_id


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("", None),
        ("-1", None),
        ("0", None),
        ("-999999999999999999", None),
        ("1", 1),
        ("+60", 60),
        ("0003600", 3600),
        (str(MAX_DURATION_SECONDS), MAX_DURATION_SECONDS),
    ],
)
def test_durations(text: str, seconds: int | None) -> None:
    """A duration is whole seconds; a missing, empty, zero or negative duration is no limit."""
    assert parsed(duration=text).duration_seconds == seconds


@pytest.mark.parametrize(
    "text",
    ["x", "1.5", "1e3", "1h", "--1", " 1", "1 ", "\u0661", str(MAX_DURATION_SECONDS + 1), "9" * 19],
)
def test_bad_durations(text: str) -> None:
    """A duration that is not a whole number, or is too long for the contract, is refused."""
    message = (
        "duration: wanted a whole number of seconds, at most 315576000000, or -1 for no limit, "
        f"got {text!a}."
    )
    assert bad(duration=text) == BadInput(400, message)


def test_unknown_fields_are_kept() -> None:
    """The request keeps unknown fields as they were sent; known fields are not among them."""
    request = parsed(duration="60", meeting="x y", empty="", line="a\nb", NAME="other")
    assert request.extra_fields == {"meeting": "x y", "empty": "", "line": "a\nb", "NAME": "other"}


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2048-04-20T17:55:12.000Z", START_MS),
        ("2048-04-20T17:55:12Z", START_MS),
        ("2048-04-20T17:55:12.1Z", START_MS + 100),
        ("2048-04-20T17:55:12.12Z", START_MS + 120),
        ("2048-04-20T17:55:12.012Z", START_MS + 12),
        ("2048-04-20T17:55:12.0129Z", START_MS + 12),
        ("2048-04-20T17:55:12.999999999Z", START_MS + 999),
        ("2048-04-20T17:55:12.000-06", START_MS + 6 * 3_600_000),
        ("2048-04-20T17:55:12.000+05", START_MS - 5 * 3_600_000),
        ("2048-04-20T17:55:12.000+0530", START_MS - 19_800_000),
        ("2048-04-20T17:55:12.000+05:30", START_MS - 19_800_000),
        ("2048-04-20T17:55:12.000-0330", START_MS + 12_600_000),
        ("2048-04-20T17:55:12.000+00", START_MS),
        ("2048-04-20T17:55:12.000-00:00", START_MS),
        ("2048-04-20T17:55:12.000+18:00", START_MS - 18 * 3_600_000),
        ("2048-02-29T00:00:00.000Z", 2_466_547_200_000),
        ("2000-02-29T00:00:00.000Z", 951_782_400_000),
        ("1970-01-01T00:00:00.000Z", 0),
        ("1969-12-31T23:59:59.999Z", -1),
        ("1969-12-31T23:59:58.5Z", -1500),
        ("0001-01-01T00:00:00.000Z", FIRST_SECOND * 1000),
        ("0001-01-01T05:30:00.000+05:30", FIRST_SECOND * 1000),
        ("9999-12-31T23:59:59.999Z", LAST_SECOND * 1000 + 999),
        ("9999-12-31T17:59:59.999-06", LAST_SECOND * 1000 + 999),
    ],
)
def test_times(text: str, ms: int) -> None:
    """Every form of Java's zone is read, and a fraction of any length is rounded down."""
    assert parse_java_time(text) == ms
    assert parsed(start_time=text).start_time_ms == ms


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2048-04-20",
        "2048-04-20T17:55Z",
        "2048-04-20T17:55:12.000",
        "2048-04-20 17:55:12.000Z",
        "2048-04-20t17:55:12.000z",
        " 2048-04-20T17:55:12.000Z",
        "2048-04-20T17:55:12.000Z\n",
        "2048-04-20T17:55:12.Z",
        "2048-04-20T17:55:12.0000000000Z",
        "2048-04-20T17:55:12,000Z",
        "2048-04-20T17:55:12.000UTC",
        "2048-04-20T17:55:12.000+5",
        "2048-04-20T17:55:12.000+05:3",
        "2048-04-20T17:55:12.000+05:60",
        "2048-04-20T17:55:12.000+19",
        "2048-04-20T17:55:12.000 05",
        "2048-04-20T24:00:00.000Z",
        "2048-04-20T17:60:12.000Z",
        "2048-04-20T17:55:60.000Z",
        "2048-00-20T17:55:12.000Z",
        "2048-13-20T17:55:12.000Z",
        "2048-04-00T17:55:12.000Z",
        "2048-04-31T17:55:12.000Z",
        "2047-02-29T17:55:12.000Z",
        "2100-02-29T17:55:12.000Z",
        "0000-01-01T00:00:00.000Z",
        "0001-01-01T00:00:00.000+01",
        "9999-12-31T23:59:59.999-01",
        "10000-01-01T00:00:00.000Z",
        "\u0662048-04-20T17:55:12.000Z",
        "2471795712000",
    ],
)
def test_times_that_cannot_be_read(text: str) -> None:
    """A text that is not a time, or a time outside the years 1 to 9999 in UTC, is refused."""
    message = f"start_time: wanted a time such as 2048-04-20T17:55:12.000Z, got {text!a}."
    assert parse_java_time(text) == BadInput(400, message)
    assert bad(start_time=text) == BadInput(400, message)


def test_a_missing_time() -> None:
    """A form without a time is refused in the same way as a form with an empty time."""
    assert refused(b"name=board") == BadInput(
        400, "start_time: wanted a time such as 2048-04-20T17:55:12.000Z, got ''."
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"&",
        b"name=&" + urlencode({"start_time": START}).encode(),
        b"mail_owner=juliet%40example.com",
    ],
)
def test_no_name(body: bytes) -> None:
    """A form without the name of a room is refused for that reason, also if more is missing."""
    assert refused(body) == BadInput(400, "name: wanted the name of a room, got none.")


@pytest.mark.parametrize(
    "body", [b"name=caf\xe9", b"name=caf%E9", b"name=%ED%A0%80", b"caf%E9=x", b"x=%C0%80", b"\xff"]
)
def test_invalid_utf8(body: bytes) -> None:
    """Bytes that are not UTF-8 are refused: raw or percent-encoded, in a name or in a value."""
    assert refused(b"start_time=x&" + body) == BadInput(400, "The form is not valid UTF-8.")


@pytest.mark.parametrize(
    ("again", "message"),
    [
        ("name=board", "name: wanted this field once, got it 2 times."),
        ("name=other&name=", "name: wanted this field once, got it 3 times."),
        ("mail%5Fowner=", "mail_owner: wanted this field once, got it 2 times."),
    ],
)
def test_a_field_twice(again: str, message: str) -> None:
    """A form that has a known field twice is refused, even if both values are the same."""
    assert refused(f"{urlencode(FORM)}&{again}".encode()) == BadInput(400, message)


def test_an_unknown_field_twice() -> None:
    """A form may have an unknown field twice; the request keeps the last value."""
    request = accepted(f"{urlencode(FORM)}&x=1&x=2".encode())
    assert request.extra_fields == {"x": "2"}


def test_too_many_fields() -> None:
    """A form may have 64 fields; a form with one more is refused."""
    most = FORM | {f"x{number}": "" for number in range(MAX_FIELDS - len(FORM))}
    assert len(accepted(urlencode(most).encode()).extra_fields) == 61
    assert refused(urlencode(most | {"y": ""}).encode()) == BadInput(
        400, "The form has more than 64 fields."
    )


@pytest.mark.parametrize("form", ["{}" + "&" * 100, "&" * 100 + "{}", "&&{}&&"])
def test_separators_without_fields(form: str) -> None:
    """Separators without a field between them are no fields, however many there are."""
    assert accepted(form.format(urlencode(FORM)).encode()) == accepted(urlencode(FORM).encode())


def test_too_long() -> None:
    """A name has at most 1023 bytes of UTF-8, and an owner at most 2047."""
    assert parsed(name="x" * 1023).room.raw == "x" * 1023
    assert parsed(name="\u00e9" * 511).room.raw == "\u00e9" * 511
    assert bad(name="x" * 1024) == BadInput(
        400, "name: wanted at most 1023 bytes of UTF-8, got 1024."
    )
    assert bad(name="\u00e9" * 512) == BadInput(
        400, "name: wanted at most 1023 bytes of UTF-8, got 1024."
    )
    assert parsed(mail_owner="x" * 2047).mail_owner == "x" * 2047
    assert bad(mail_owner="x" * 2048) == BadInput(
        400, "mail_owner: wanted at most 2047 bytes of UTF-8, got 2048."
    )


@pytest.mark.parametrize("key", ["name", "mail_owner"])
@pytest.mark.parametrize(
    "character", ["\0", "\t", "\n", "\r", "\x1f", "\x7f", "\x85", "\x9f", "\u2028", "\u2029"]
)
def test_control_characters(key: str, character: str) -> None:
    """A room or an owner with a control character or a line break is refused."""
    text = f"a{character}b"
    assert bad(**{key: text}) == BadInput(
        400, f"{key}: wanted no control characters, got {text!a}."
    )


def test_limits_of_the_body_are_the_documented_ones() -> None:
    """The limit for a body is 64 KiB, and the longest allowed fields fit into it."""
    longest = {"name": "\U0001f389" * 255, "mail_owner": "\U0001f389" * 511, "start_time": START}
    assert MAX_BODY_BYTES == 65_536
    assert len(urlencode(longest)) < MAX_BODY_BYTES
    assert accepted(urlencode(longest).encode()).room.raw == longest["name"]


def test_the_request_id_identifies_exactly_the_fields() -> None:
    """Any difference in any field gives another request id; another order gives the same id."""
    forms: list[dict[str, str]] = [
        FORM,
        FORM | {"name": "Board"},
        FORM | {"mail_owner": "romeo@example.com"},
        FORM | {"start_time": "2048-04-20T17:55:12.001Z"},
        FORM | {"start_time": "2048-04-20T17:55:12Z"},
        FORM | {"duration": "-1"},
        FORM | {"duration": "60"},
        FORM | {"x": ""},
        FORM | {"x": "1"},
    ]
    ids = [accepted(urlencode(form).encode()).request_id for form in forms]
    backwards = [accepted(urlencode([*form.items()][::-1]).encode()).request_id for form in forms]
    assert len(set(ids)) == len(forms)
    assert ids == backwards


def test_the_request_id_does_not_change_between_versions() -> None:
    """A backend may store request ids, so these forms keep the ids of the first release."""
    assert parsed().request_id == "cec34fef-93ff-8854-97a0-cd8353d2c7f4"
    # U+1FAE9 is new in Unicode 16, so only some versions of Python know it.
    new = parsed(name="caf\u00e9\U0001fae9")
    assert new.request_id == "cd9a5255-9989-88da-82a0-ff4ef51af76d"
    assert parsed(mail_owner="").request_id == "07ed07e9-e559-84de-acda-b0f04530de8c"


# -- properties --------------------------------------------------------------------------------

printable = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=255
)


@given(
    name=printable,
    owner=st.none() | printable,
    extra=st.dictionaries(printable, st.text(st.characters(exclude_categories=["Cs"])), max_size=5),
)
@example(name="%", owner="=&", extra={})
@settings(max_examples=100)
def test_the_request_has_what_was_sent(name: str, owner: str | None, extra: dict[str, str]) -> None:
    """The request contains exactly the texts that the client form-encoded."""
    known = FORM | {"name": name}
    known.pop("mail_owner")
    if owner is not None:
        known["mail_owner"] = owner
    extra = {key: value for key, value in extra.items() if key not in {*known, "mail_owner"}}
    extra.pop("duration", None)
    request = accepted(urlencode(extra | known).encode())
    assert request.room.raw == name
    assert request.mail_owner == owner
    assert request.extra_fields == extra


@given(
    content_type=st.sampled_from([TYPE, f"{TYPE}; charset=UTF-8"]) | st.text(),
    body=st.binary(max_size=200)
    | st.text("abc=&%+;0123456789C\u00e9-:.TZ", max_size=80).map(str.encode)
    | st.lists(
        st.tuples(
            st.sampled_from(["name", "mail_owner", "start_time", "duration", "x"]),
            st.sampled_from(["", START, "-1", "60", "[a]b"])
            | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
        ),
        max_size=6,
    ).map(lambda pairs: urlencode(pairs).encode()),
)
@settings(max_examples=200)
def test_the_parser_never_raises(content_type: str, body: bytes) -> None:
    """Any body of any content type gives a request, or a printable ASCII message."""
    result = parse_create(content_type, body, guest_test(()))
    if isinstance(result, BadInput):
        assert result.status in {400, 415}
        assert result.message.isascii()
        assert result.message.isprintable()
    else:
        assert uuid.UUID(result.request_id).version == 8


@given(
    moment=st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999)),  # noqa: DTZ001
    digits=st.integers(0, 9),
    nanos=st.integers(0, 999_999_999),
    zone=st.none() | st.tuples(st.sampled_from("+-"), st.integers(0, 18), st.integers(0, 59)),
    form=st.sampled_from(["{:02}{:02}", "{:02}:{:02}", "{:02}"]),
)
@settings(max_examples=200)
def test_times_agree_with_datetime(
    moment: datetime, digits: int, nanos: int, zone: tuple[str, int, int] | None, form: str
) -> None:
    """Every time that Java can write is read as the same time that Python's datetime computes."""
    moment = moment.replace(microsecond=0)
    fraction = f"{nanos:09}"[:digits]
    text = moment.isoformat() + (f".{fraction}" if fraction else "")
    offset = timedelta()
    if zone is None:
        text += "Z"
    else:
        sign, hours, minutes = zone
        text += sign + form.format(hours, minutes)
        offset = timedelta(hours=hours, minutes=minutes if form != "{:02}" else 0)
        offset = -offset if sign == "-" else offset
    since = moment - EPOCH - offset
    milliseconds = since // timedelta(milliseconds=1) + int(f"{fraction:0<3}"[:3])
    in_range = FIRST_SECOND <= since // timedelta(seconds=1) <= LAST_SECOND
    result = parse_java_time(text)
    assert result == milliseconds if in_range else isinstance(result, BadInput)


part = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters="\ufffe\uffff"),
    min_size=1,
    max_size=40,
)


@given(tenant=part, name=part)
@settings(max_examples=100)
def test_encoded_tenants_and_names_are_decoded(tenant: str, name: str) -> None:
    """A room gives the tenant and the name that Jitsi percent-encoded for XMPP."""
    raw = f"[{quote(tenant, safe='')}]{quote(name, safe='')}"
    assert parse_room(raw) == Room(raw=raw, tenant=tenant, name=name)


@given(
    fields=st.dictionaries(part, part, max_size=5),
    more=st.tuples(part, part),
    random=st.randoms(use_true_random=False),
)
@settings(max_examples=60)
def test_request_ids_ignore_only_the_order(
    fields: dict[str, str], more: tuple[str, str], random: Random
) -> None:
    """Shuffled fields keep the request id, one more field changes it, and it is a UUIDv8."""
    fields = {f"x-{key}": value for key, value in fields.items()} | FORM
    shuffled = [*fields.items()]
    random.shuffle(shuffled)
    request_id = accepted(urlencode(fields).encode()).request_id
    assert accepted(urlencode(shuffled).encode()).request_id == request_id
    other = fields | {f"y-{more[0]}": more[1]}
    assert accepted(urlencode(other).encode()).request_id != request_id
    parsed_id = uuid.UUID(request_id)
    assert str(parsed_id) == request_id
    assert (parsed_id.version, parsed_id.variant) == (8, uuid.RFC_4122)


@given(st.lists(st.sampled_from(["a", "=", "&", "+", "%", "2", "F", "%C3%A9", "\u00e9", " ", ";"])))
@example(list("a+b=c+d&&=&a"))
def test_fields_are_those_of_the_standard_library(pieces: list[str]) -> None:
    """The names and values of the fields are those that `urllib.parse.parse_qsl` finds."""
    form = "".join(pieces)
    body = f"{urlencode(FORM)}&{form}".encode()
    try:
        pairs = parse_qsl(form, keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        refused(body)
    else:
        assert accepted(body).extra_fields == dict(pairs)

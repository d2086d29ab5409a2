"""Public ids: from a conference to the id that a client knows it by, and back."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jicofo_reservation_proxy.ids import (
    ALIAS_BASE,
    ALIAS_COUNT,
    BACKEND_NAME,
    Named,
    Number,
    alias_candidate,
    decode,
    encode,
    new_incident_id,
    own_number,
)
from jicofo_reservation_proxy.model import ConferenceRef

backend_names = st.from_regex(BACKEND_NAME, fullmatch=True)
any_text = st.text()
"""Every string that UTF-8 can encode; a backend can send no other string."""


@pytest.mark.parametrize(
    ("conference_id", "public_id"),
    [
        ("order/7", "default.order~2F7"),
        ("AZaz09-_", "default.AZaz09-_"),
        ("a.b", "default.a~2Eb"),
        ("~", "default.~7E"),
        ("100%", "default.100~25"),
        ("caf\u00e9", "default.caf~C3~A9"),
        ("two words#?", "default.two~20words~23~3F"),
        ("364758328", "default.364758328"),
        ("", "default."),
    ],
)
def test_string_ids(conference_id: str, public_id: str) -> None:
    """A string id is the backend's name, a dot, and the backend's id with escapes."""
    ref = ConferenceRef("default", conference_id)
    assert encode(ref) == public_id
    assert decode(public_id) == Named(ref)


@given(backend=backend_names, conference_id=any_text)
@example(backend="default", conference_id="\0/%~.\U0010ffff")
@example(backend="a0_0", conference_id="7.0")
@settings(max_examples=200)
def test_every_string_id_can_be_decoded(backend: str, conference_id: str) -> None:
    """Decoding the string id gives the same conference; the id is safe in any path."""
    ref = ConferenceRef(backend, conference_id)
    public_id = encode(ref)
    assert decode(public_id) == Named(ref)
    assert re.fullmatch(r"[a-z][A-Za-z0-9_.~-]*", public_id)


@pytest.mark.parametrize(
    ("backend", "conference_id", "public_id"),
    [
        ("default", "6f1d2c3b", "default-6f1d2c3b"),
        ("a_b", "", "a_b-"),
        ("default", "-x-", "default--x-"),
        ("default", "a.b", "default-a~2Eb"),
    ],
)
def test_fallback_grants(backend: str, conference_id: str, public_id: str) -> None:
    """The id of a fallback grant has a hyphen after the backend's name, and not a dot."""
    fallback = ConferenceRef(backend, conference_id, is_fallback=True)
    assert encode(fallback) == public_id
    assert decode(public_id) == Named(fallback)


@given(conference_id=any_text, hold=st.integers(1, 2**63 - 1), is_fallback=st.booleans())
@example(conference_id="7.5", hold=2**63 - 1, is_fallback=False)
@example(conference_id="", hold=1, is_fallback=True)
@settings(max_examples=200)
def test_a_string_id_names_a_grant(conference_id: str, hold: int, *, is_fallback: bool) -> None:
    """A string id with the number of a hold gives back the conference and that number."""
    ref = ConferenceRef("default", conference_id, is_fallback)
    assert encode(ref, hold) == f"{encode(ref)}.{hold}"
    assert decode(encode(ref, hold)) == Named(ref, hold)


@pytest.mark.parametrize(
    "text",
    ["default.7.", "default.7.0", "default.7.01", "default.7.-1", "default.7.5.6", "default.7.5x"],
)
def test_a_string_id_with_an_invalid_number_is_unknown(text: str) -> None:
    """The proxy never gives out an id with such a number, so the id stands for nothing."""
    assert decode(text) is None


@given(backends=st.tuples(backend_names, backend_names), ids=st.tuples(any_text, any_text))
@example(backends=("default", "default"), ids=("6f1d", "6f1d"))
@example(backends=("a", "a"), ids=("-", "."))
@example(backends=("a_b", "a"), ids=("c", "b-c"))
@settings(max_examples=200)
def test_a_fallback_grant_shares_no_id_with_a_conference(
    backends: tuple[str, str], ids: tuple[str, str]
) -> None:
    """A fallback grant has another string id and another alias than every backend's conference."""
    fallback = ConferenceRef(backends[0], ids[0], is_fallback=True)
    other = ConferenceRef(backends[1], ids[1])
    assert decode(encode(fallback)) == Named(fallback)
    assert encode(fallback) != encode(other)
    assert alias_candidate(fallback, 0) != alias_candidate(other, 0)
    assert re.fullmatch(r"[a-z][A-Za-z0-9_.~-]*", encode(fallback))


@given(first=any_text, second=any_text)
@settings(max_examples=100)
def test_different_ids_stay_different(first: str, second: str) -> None:
    """Two conferences never share a string id."""
    encoded = encode(ConferenceRef("a", first)), encode(ConferenceRef("a", second))
    assert (encoded[0] == encoded[1]) == (first == second)


@given(
    st.text(st.characters(exclude_categories=[]))
    | st.from_regex(r"[0-9]{0,16}(\.0*)?", fullmatch=True)
    | st.from_regex(r"[a-z_]{0,4}[.-][A-F0-9~-]{0,12}", fullmatch=True)
)
@settings(max_examples=200)
def test_decode_accepts_any_text(text: str) -> None:
    """Decoding any text gives a conference, a number or `None`, and never raises an error."""
    found = decode(text)
    if isinstance(found, Number):
        assert re.fullmatch(r"[0-9]+(\.0+)?", text, re.ASCII)
        assert found.value == float(text)
    elif found is not None:
        assert text.startswith(found.ref.backend + ("-" if found.ref.is_fallback else "."))
        assert BACKEND_NAME.fullmatch(found.ref.backend)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "default",
        ".x",
        "Default.x",
        "1a.x",
        "a__b.x",
        "a_.x",
        "_a.x",
        "default.a/b",
        "default.a b",
        "default.a.b",
        "-x",
        "Default-x",
        "a_-x",
        "default-a.b",
        "default-~2f",
        "default-a b",
        "default-x\n",
        "default.caf\u00e9",
        "default.~",
        "default.~2",
        "default.~2f",
        "default.~GG",
        "default.~FF",
        "default.~C3",
        "default.~ED~A0~80",
        "default.\ud800",
        "default.x\n",
        "\ndefault.x",
        "null",
        "-1",
        "+1",
        "1.5",
        "1.",
        ".0",
        "1.0.0",
        "1,0",
        "1e+14",
        "1e14",
        "0x10",
        " 1",
        "1 ",
        "1\n",
        "\u0661\u0662",
        "\uff11",
        "00",
        "007",
        "007.0",
        "100000000000000",
        "100000000000000.0",
    ],
)
def test_texts_that_are_no_ids(text: str) -> None:
    """Decoding a text that the proxy never gives out as an id returns `None`."""
    assert decode(text) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("364758328", 364758328),
        ("364758328.0", 364758328),
        ("364758328.00", 364758328),
        ("1", 1),
        ("0", 0),
        ("10.0", 10),
        ("99999999999999", 99_999_999_999_999),
        ("99999999999999.0", 99_999_999_999_999),
    ],
)
def test_numbers_in_paths(text: str, value: int) -> None:
    """`N`, `N.0` and `N.00` are the number N."""
    assert decode(text) == Number(value)


def test_aliases_lie_above_the_numbers_of_backends() -> None:
    """A number from ALIAS_BASE on is an alias, and no alias has more than 14 digits."""
    assert not Number(ALIAS_BASE - 1).is_alias
    assert Number(ALIAS_BASE).is_alias
    assert ALIAS_BASE == 90_000_000_000_000
    assert ALIAS_BASE + ALIAS_COUNT - 1 == 99_999_999_999_999


@pytest.mark.parametrize(
    ("conference_id", "number"),
    [
        ("1", 1),
        ("364758328", 364758328),
        ("9999999999999", 9_999_999_999_999),
        ("10000000000000", 10_000_000_000_000),
        ("89999999999999", ALIAS_BASE - 1),
        ("90000000000000", None),
        ("99999999999999", None),
        ("100000000000000", None),
        ("0", None),
        ("01", None),
        ("00", None),
        ("-1", None),
        ("+1", None),
        ("1.0", None),
        ("1e3", None),
        ("1_000", None),
        (" 1", None),
        ("1 ", None),
        ("1\n", None),
        ("", None),
        ("x", None),
        ("\u0661\u0662\u0663", None),
        ("\uff11", None),
        ("\u00b2", None),
    ],
)
def test_own_numbers(conference_id: str, number: int | None) -> None:
    """A backend's id can be used as a number only if it is a plain number below the aliases."""
    assert own_number(conference_id) == number


@given(st.integers(-10, 10**15).map(str) | any_text)
@settings(max_examples=100)
def test_own_numbers_come_back_as_the_same_text(conference_id: str) -> None:
    """If a backend's id is used as a number, a path with the number gives the same id again."""
    number = own_number(conference_id)
    if number is not None:
        assert str(number) == conference_id
        assert decode(f"{number}.0") == Number(number)
        assert not Number(number).is_alias


@given(backend=backend_names, conference_id=any_text, attempt=st.integers(0, 50))
@settings(max_examples=100)
def test_alias_candidates(backend: str, conference_id: str, attempt: int) -> None:
    """A candidate is an alias; it is always the same one, and the next attempt gives another."""
    ref = ConferenceRef(backend, conference_id)
    candidate = alias_candidate(ref, attempt)
    assert ALIAS_BASE <= candidate < ALIAS_BASE + ALIAS_COUNT
    assert alias_candidate(ConferenceRef(backend, conference_id), attempt) == candidate
    assert alias_candidate(ref, attempt + 1) != candidate
    assert decode(str(candidate)) == Number(candidate)


def test_alias_candidates_do_not_change_between_versions() -> None:
    """A client may keep an alias across an upgrade of the proxy and the loss of the ledger."""
    ref = ConferenceRef("default", "order/7")
    assert [alias_candidate(ref, attempt) for attempt in range(2)] == [
        93_937_726_857_192,
        97_969_183_148_624,
    ]


def test_alias_candidates_differ_between_conferences() -> None:
    """Another id, or the same id at another backend, has another candidate."""
    refs = [ConferenceRef(backend, str(number)) for backend in "ab" for number in range(500)]
    assert len({alias_candidate(ref, 0) for ref in refs}) == len(refs)


def test_incident_ids() -> None:
    """An incident id is twelve hexadecimal digits, and each is new."""
    made = {new_incident_id() for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch(r"[0-9a-f]{12}", incident_id) for incident_id in made)

"""The cases: they cite the contract, and a slip in one of them is found when it is read."""

import re
from collections import Counter
from pathlib import Path

import pytest
from jicofo_reservation_proxy.conformance import Case, cases
from jicofo_reservation_proxy.conformance.case import parse

CONTRACT = Path(__file__).parents[3] / "protos/jicofo/reservation/v1/reservation.proto"

STEP = '[[case]]\nname = "it"\nsentence = "It."\n[[case.step]]\ncall = "create"\n'


def _words(text: str) -> str:
    """Return a text on one line."""
    return " ".join(text.split())


def _comments() -> str:
    lines = CONTRACT.read_text("utf-8").splitlines()
    return _words(" ".join(line.strip().removeprefix("//") for line in lines))


@pytest.mark.parametrize("case", cases(), ids=str)
def test_a_sentence_stands_in_the_contract_word_for_word(case: Case) -> None:
    """A team can look it up."""
    assert _words(case.sentence) in _comments()


def test_names_are_unique_and_fit_into_command_lines() -> None:
    """A name means one case, and needs no quotes."""
    names = Counter(case.name for case in cases())
    assert [name for name, count in names.items() if count > 1] == []
    assert [name for name in names if not re.fullmatch("[a-z]+(-[a-z]+)*", name)] == []


def test_cases_need_what_they_call() -> None:
    """A backend that leaves a method out is never asked for it where that decides a case."""
    for case in cases():
        called = {str(step.call) for step in case.step} - {"create"}
        called |= {"denial"} if any("{denied}" in step.room for step in case.step) else set()
        assert called == set(case.needs), case


def test_every_step_wants_something_but_the_ones_that_another_case_looks_at() -> None:
    """A step without a wish is one whose answer may be anything by the contract."""
    careless = [(case.name, step.call) for case in cases() for step in case.step if not step.wanted]
    assert careless == []
    anything = {case.name for case in cases() for step in case.step if step.wanted == "anything"}
    assert anything == {"delete-later-one", "delete-given-up", "delete-too-late"}


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("", "anything"),
        ('expect = "OK"', "OK"),
        ('expect = ["OK", "NOT_FOUND"]', "OK or NOT_FOUND"),
        ("expect = { conflict = 4, conference = 1 }", "1 conference + 4 conflict"),
        (
            'expect = "conference"\nfields = { room = "x" }',
            "conference with the room as it was sent",
        ),
        ('expect = "conference"\nvalid = ["pin", "url"]', "conference with a valid pin, url"),
        ('expect = "conference"\nids = "same"', "conference with the same conference"),
        ('expect = "conference"\nids = "distinct"', "conference with a new id"),
    ],
)
def test_what_a_step_wants_is_told(words: str, wanted: str) -> None:
    """The table of the results says it in words."""
    (case,) = parse(STEP + words)
    assert case.wanted == wanted


def test_what_later_steps_want_is_told() -> None:
    """Steps are told one after the other, and how many rooms they are played in."""
    (case,) = parse(
        STEP.replace("[[case.step]]", "rooms = 3\n[[case.step]]")
        + 'save_as = "a"\nexpect = "conference"\n'
        + '[[case.step]]\ncall = "create"\nexpect = "conflict"\nwhole = "a"\n'
        + '[[case.step]]\ncall = "get"\nof = "a"\nexpect = "conference"\nid = "a"\n'
        + '[[case.step]]\ncall = "create"\nnot_id = "a"\n'
        + '[[case.step]]\ncall = "create"\nagain = "a"\nsame = "a"\nfor_seconds = 0.5\n'
    )
    assert case.wanted.split("; ") == [
        "conference",
        "conflict with the same conference, whole",
        "conference with the same conference",
        "anything with a new id",
        "the same answer for 0.5 s",
        "in 3 rooms at once",
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ('again = "first"', "it, step 1: wanted the name of an earlier step, got {'first'}"),
        (
            'save_as = "me"\nsame = "me"',
            "it, step 1: wanted the name of an earlier step, got {'me'}",
        ),
        ('[[case.step]]\ncall = "get"', "it, step 2: wanted either of or unknown_id"),
        (
            'save_as = "a"\n[[case.step]]\ncall = "delete"\nof = "a"\nunknown_id = "b"',
            "it, step 2: wanted either of or unknown_id",
        ),
        ("expect = 5", "wanted a kind of answer, an array or a table of them, got 5"),
        ("expect = []", "wanted a kind of answer, an array or a table of them, got []"),
        ("expect = [1]", "wanted a kind of answer, an array or a table of them, got [1]"),
        ('expect = { OK = "1" }', "got {'OK': '1'}"),
        ('colour = "red"', "Extra fields in constructor for Step: colour"),
        ('[[case.step]]\ncall = "update"', "update"),
        ('[[case]]\nname = "other"', "sentence"),
    ],
)
def test_a_slip_in_a_case_is_found(words: str, said: str) -> None:
    """What is not there, not known or contradicts itself is refused, and named."""
    with pytest.raises(Exception) as error:  # noqa: PT011 - cattrs raises groups of its own
        parse(STEP + words)
    assert said in " ".join(_texts(error.value))


def _texts(error: BaseException) -> list[str]:
    """Return the texts of an error and of all that it groups."""
    grouped = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    return [str(error), *(text for inner in grouped for text in _texts(inner))]

"""The cases cite the contract, and the kit finds a mistake in a case when it loads the case."""

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
def test_the_contract_contains_the_sentence_of_each_case_word_for_word(case: Case) -> None:
    """Backend engineers can look up the sentence of a case in the contract."""
    assert _words(case.sentence) in _comments()


def test_names_are_unique_and_fit_into_command_lines() -> None:
    """Each case has a name of its own, which needs no quotes in a shell."""
    names = Counter(case.name for case in cases())
    assert [name for name, count in names.items() if count > 1] == []
    assert [name for name in names if not re.fullmatch("[a-z]+(-[a-z]+)*", name)] == []


def test_cases_need_the_methods_that_they_call() -> None:
    """`needs` lists the methods except create that a case calls.

    It also lists denial if the case uses {denied}, and holders if a step has a holder.
    """
    for case in cases():
        called = {str(step.call) for step in case.step} - {"create"}
        called |= {"holders"} if any(step.holder for step in case.step) else set()
        called |= {"denial"} if any("{denied}" in step.room for step in case.step) else set()
        assert called == set(case.needs), case


def test_every_step_wants_an_answer_except_steps_that_another_case_checks() -> None:
    """Every step has a wanted answer. Only three cases have a step that accepts any answer."""
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
        (
            'expect = "conference"\nids = "same"',
            "conference with the same id in all answers",
        ),
        ('expect = "conference"\nids = "distinct"', "conference with a new id"),
    ],
)
def test_the_wanted_answer_of_a_step_is_text(words: str, wanted: str) -> None:
    """The column WANTED shows the wanted answer of a step in words."""
    (case,) = parse(STEP + words)
    assert case.wanted == wanted


def test_the_wanted_answers_of_several_steps_are_text() -> None:
    """The column WANTED shows the steps in order, then the number of rooms."""
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
        "conflict with all fields of the earlier conference",
        "conference with the id of the earlier conference",
        "anything with a new id",
        "the same answer as before for 0.5 s",
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
        (
            '[[case.step]]\ncall = "get"',
            "it, step 2: wanted one of 'of', 'unknown_id' and 'of_room'",
        ),
        (
            'save_as = "a"\n[[case.step]]\ncall = "delete"\nof = "a"\nunknown_id = "b"',
            "it, step 2: wanted one of 'of', 'unknown_id' and 'of_room'",
        ),
        (
            "expect = 5",
            "wanted a kind of answer, an array of kinds, or a table of kinds and numbers, got 5",
        ),
        (
            "expect = []",
            "wanted a kind of answer, an array of kinds, or a table of kinds and numbers, got []",
        ),
        (
            "expect = [1]",
            "wanted a kind of answer, an array of kinds, or a table of kinds and numbers, got [1]",
        ),
        ('expect = { OK = "1" }', "got {'OK': '1'}"),
        ('colour = "red"', "Extra fields in constructor for Step: colour"),
        ('[[case.step]]\ncall = "update"', "update"),
        ('[[case]]\nname = "other"', "sentence"),
    ],
)
def test_a_mistake_in_a_case_is_found(words: str, said: str) -> None:
    """The error shows which key or value is wrong or missing."""
    with pytest.raises(Exception) as error:  # noqa: PT011 - cattrs raises groups of its own
        parse(STEP + words)
    assert said in " ".join(_texts(error.value))


def _texts(error: BaseException) -> list[str]:
    """Return the texts of an error and of all errors in its group."""
    grouped = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    return [str(error), *(text for inner in grouped for text in _texts(inner))]

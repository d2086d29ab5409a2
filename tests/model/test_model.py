"""The protocol of several proxies on one backend, checked in every state of a small model."""

import os
from pathlib import Path

import pytest

from .rules import Rule
from .search import BEYOND, HELD, LIVE, search
from .worlds import LONG, SHORT, World

WORLDS = SHORT + LONG if os.environ.get("FAULTS") == "long" else SHORT

VIOLATIONS = {
    Rule.ROW_PER_HOLDER: ("after an upgrade", LIVE),
    Rule.RAISE_ON_REPEAT: ("one Prosody", LIVE),
    Rule.RAISE_ON_CONFLICT: ("one Prosody", LIVE),
    Rule.COMPARE_HOLDS: ("one Prosody", LIVE),
    Rule.LAST_ROW_ENDS: ("one Prosody", HELD),
    Rule.BY_ROOM: ("one Prosody", HELD),
    Rule.EMPTY_HOLDER_HAS_A_ROW: ("after an upgrade", LIVE),
    Rule.ROWS_DO_NOT_OUTLIVE_THE_END: ("one Prosody", BEYOND),
    Rule.NEW_HOLD: ("one Prosody", LIVE),
    Rule.DURABLE_STARTS: ("crashes of two proxies", LIVE),
    Rule.NEW_LEDGER_HAS_GREATER_HOLDS: ("a ledger that is lost", LIVE),
    Rule.DELETION_HAS_THE_HOLD_OF_ITS_GRANT: ("a ledger that is lost", LIVE),
    Rule.WITHDRAWAL_HAS_THE_HOLD_OF_ITS_CREATE: ("crashes of two proxies", LIVE),
    Rule.ID_NAMES_THE_GRANT: ("one Prosody", LIVE),
    Rule.OPEN_CANCELS_A_DELETION: ("one Prosody", LIVE),
    Rule.WITHDRAW_UNANSWERED: ("one Prosody", HELD),
    Rule.WITHDRAW_UNTOLD: ("one Prosody", HELD),
    Rule.WITHDRAW_REFUSED: ("two Jicofos", HELD),
    Rule.WITHDRAW_ONCE_MORE: ("one Prosody", HELD),
    Rule.WITHDRAWAL_IS_UNCERTAIN: ("one Prosody", LIVE),
    Rule.GRANT_AFTER_DELETE_IS_DURABLE: ("crashes of two proxies", LIVE),
    Rule.NO_WITHDRAWAL_WHILE_OPEN: ("one Prosody", LIVE),
}
"""Rule that is taken out → the world of the search, and the property that is then violated."""


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("world", WORLDS, ids=str)
def test_no_state_violates_a_property(world: World) -> None:
    """With all rules, no state that can be reached violates a property."""
    verdict = search(world.start, world.owners)
    print(f"{world}: {verdict.states:,} states in {verdict.seconds:.0f} s")
    assert not verdict.violation, "\n".join((verdict.violation, *verdict.steps))


@pytest.mark.parametrize("rule", Rule, ids=lambda rule: rule.name)
def test_every_rule_is_needed(rule: Rule) -> None:
    """Without any single rule, the search finds a violation of the expected property."""
    name, expected = VIOLATIONS[rule]
    world = next(world for world in SHORT if world.name == name)
    verdict = search(world.start, world.owners, {rule})
    print("\n".join((rule.value, verdict.violation, *verdict.steps)))
    assert verdict.violation == expected


def test_the_page_has_every_rule() -> None:
    """README.md names each rule, and the property that is violated without it."""
    page = (Path(__file__).parent / "README.md").read_text("utf-8")
    for rule, (name, violated) in VIOLATIONS.items():
        assert f"| {rule.value} | {violated} | {name} |" in page
    assert set(VIOLATIONS) == set(Rule)

"""Which client is asking."""

import pytest
from jicofo_reservation_proxy.http.dialects import (
    HANDBOOK,
    JICOFO,
    PROSODY,
    USER_AGENTS,
    dialect_of,
    recognition,
)
from jicofo_reservation_proxy.model import Dialect
from jicofo_reservation_proxy.simulation import jicofo, prosody


@pytest.mark.parametrize(
    ("user_agent", "dialect"),
    [
        ("Apache-HttpClient/4.5.13 (Java/17)", JICOFO),
        ("Apache-HttpClient/4.4.1 (Java/1.8.0_151)", JICOFO),
        ("Prosody (0.12.3; posix)", PROSODY),
        ("Prosody 13.0", PROSODY),
        ("Prosody", PROSODY),
        ("", HANDBOOK),
        ("curl/8.5.0", HANDBOOK),
        ("prosody", HANDBOOK),
        ("Pros", HANDBOOK),
        ("apache-httpclient/4.5", HANDBOOK),
        ("Apache-HttpClient", HANDBOOK),
        ("Mozilla/5.0 Prosody", HANDBOOK),
    ],
)
def test_dialects_go_by_the_user_agent(user_agent: str, dialect: Dialect) -> None:
    """Jicofo's HTTP client and Prosody name themselves; anyone else gets the handbook's."""
    assert dialect_of(user_agent) is dialect


def test_the_simulated_clients_are_recognized() -> None:
    """What `simulate` and `call` send is the same, and the real clients are recognized by it."""
    assert {"jicofo": jicofo.USER_AGENT, "prosody": prosody.USER_AGENT} == USER_AGENTS
    assert dialect_of(USER_AGENTS["jicofo"]) is JICOFO
    assert dialect_of(USER_AGENTS["prosody"]) is PROSODY


@pytest.mark.parametrize(
    ("client", "dialect"),
    [("auto", PROSODY), ("jicofo", JICOFO), ("prosody", PROSODY), ("handbook", HANDBOOK)],
)
def test_the_setting_client(client: str, dialect: Dialect) -> None:
    """Any value but `auto` is every client's, whatever it calls itself."""
    assert recognition(client)("Prosody (0.12.3; posix)") is dialect


def test_what_the_dialects_mean() -> None:
    """Jicofo takes only numbers, and an anonymous user of Prosody's is nobody."""
    dialects = (JICOFO, PROSODY, HANDBOOK)
    assert [dialect.numeric_ids for dialect in dialects] == [True, False, True]
    assert [dialect.owner_is_a_person for dialect in dialects] == [True, False, True]

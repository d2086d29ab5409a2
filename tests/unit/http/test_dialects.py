"""How the proxy recognizes which client sends a request."""

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
    """The `User-Agent` identifies Jicofo and Prosody; other clients get the handbook's dialect."""
    assert dialect_of(user_agent) is dialect


def test_the_simulated_clients_are_recognized() -> None:
    """`simulate` and `call` send the `User-Agent` by which the proxy recognizes real clients."""
    assert {"jicofo": jicofo.USER_AGENT, "prosody": prosody.USER_AGENT} == USER_AGENTS
    assert dialect_of(USER_AGENTS["jicofo"]) is JICOFO
    assert dialect_of(USER_AGENTS["prosody"]) is PROSODY


@pytest.mark.parametrize(
    ("client", "dialect"),
    [("auto", PROSODY), ("jicofo", JICOFO), ("prosody", PROSODY), ("handbook", HANDBOOK)],
)
def test_the_setting_client(client: str, dialect: Dialect) -> None:
    """Any value except `auto` sets the dialect of all clients and overrides the `User-Agent`."""
    assert recognition(client)("Prosody (0.12.3; posix)") is dialect


def test_what_the_dialects_mean() -> None:
    """Only Prosody accepts ids that are not numbers, and only Prosody's owners are not persons."""
    dialects = (JICOFO, PROSODY, HANDBOOK)
    assert [dialect.numeric_ids for dialect in dialects] == [True, False, True]
    assert [dialect.owner_is_a_person for dialect in dialects] == [True, False, True]

"""The dialects: the kinds of clients, the ids that they accept, and the meaning of their owners.

The proxy recognizes a client by its `User-Agent`, unless the setting `client` names the client. The
form of each client's answers is in renderers.py.
"""

from collections.abc import Callable, Mapping

from jicofo_reservation_proxy.model import ClientKind, Dialect

DialectOf = Callable[[str], Dialect]
"""A `User-Agent` → the dialect of the client."""

JICOFO = Dialect(ClientKind.JICOFO, numeric_ids=True, owner_is_a_person=True)
"""Jicofo accepts only a number as an id (clients.md "id")."""

PROSODY = Dialect(ClientKind.PROSODY, numeric_ids=False, owner_is_a_person=False)
"""An anonymous user of Prosody is a new owner after every login, so an owner does not identify a
person (clients.md "409 and GET")."""

HANDBOOK = Dialect(ClientKind.UNKNOWN, numeric_ids=True, owner_is_a_person=True)
"""The dialect of Jitsi's handbook, for clients that the proxy does not recognize."""

USER_AGENTS: Mapping[str, str] = {
    "jicofo": "Apache-HttpClient/4.5.13 (Java/17)",
    "prosody": "Prosody (0.12.3; posix)",
}
"""The `User-Agent` that each real client sends."""

_SET: Mapping[str, Dialect] = {"jicofo": JICOFO, "prosody": PROSODY, "handbook": HANDBOOK}
"""The values of the setting `client`, except "auto"."""


def dialect_of(user_agent: str) -> Dialect:
    """Return the dialect of the client that sends this `User-Agent` (clients.md "User-Agent")."""
    if user_agent.startswith("Apache-HttpClient/"):
        return JICOFO
    if user_agent.startswith("Prosody"):
        return PROSODY
    return HANDBOOK


def recognition(client: str) -> DialectOf:
    """Return the function that recognizes clients, for a value of the setting `client`."""
    if client == "auto":
        return dialect_of
    return lambda _user_agent: _SET[client]

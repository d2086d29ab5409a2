"""Access control: which requests may ask. The checks need nothing but the head of a request.

- A web page in a browser on this machine must not use the proxy. Browsers send `Origin` with a
  request that a page of another site makes (the Fetch standard), and a page that gives its own name
  the address 127.0.0.1 (DNS rebinding) sends that name as `Host`.
- If there are client tokens, a client must show one: as `Authorization: Bearer TOKEN`, in the
  header `client_token_header`, or as the first segment of the path.
"""

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jicofo_reservation_proxy.settings.addresses import is_loopback_listen
from jicofo_reservation_proxy.settings.schema import Settings

from .client_tokens import ClientTokens
from .refusals import Refusal

_BEARER = "bearer "


@dataclass(frozen=True, slots=True)
class Refused:
    """A request that may not ask: the reason, the HTTP status, and the message for the client."""

    reason: Refusal
    status: int
    message: str


OF_A_WEB_PAGE = Refused(Refusal.ORIGIN, 403, "Web pages may not use this reservation system.")
OTHER_HOST = Refused(Refusal.HOST, 403, "This reservation system does not answer to this name.")
NO_TOKEN = Refused(
    Refusal.TOKEN,
    401,
    "The reservation system does not accept this server. Please tell your administrator.",
)


class AccessControl:
    """Decides whether a request may ask.

    Any name is accepted as `Host` if `allowed_hosts` is `None`. An IP address, `localhost` and an
    absent `Host` are always accepted: no other site can have such a name.
    """

    def __init__(
        self,
        allowed_hosts: Sequence[str] | None = None,
        tokens: ClientTokens | None = None,
        token_header: str | None = None,
    ) -> None:
        self._allowed = allowed_hosts and frozenset(host.lower() for host in allowed_hosts)
        self._checks_names = allowed_hosts is not None
        self._tokens = tokens
        self._token_variable = "HTTP_" + (token_header or "").upper().replace("-", "_")
        self._is_allowed = lru_cache(maxsize=64)(self._is_allowed_host)

    @property
    def tokens(self) -> object:
        """The client tokens in use; it is another object after they have changed."""
        return self._tokens and self._tokens.digests

    def admit(self, environ: Mapping[str, Any], path: str) -> str | Refused:
        """Return the path of a request without the token, or why the request is refused.

        `environ` is the environment of WSGI (PEP 3333), and `path` its path without double slashes.
        """
        if "HTTP_ORIGIN" in environ or environ.get("HTTP_SEC_FETCH_SITE", "none") != "none":
            return OF_A_WEB_PAGE
        if self._checks_names and not self._is_allowed(environ.get("HTTP_HOST", "")):
            return OTHER_HOST
        return path if self._tokens is None else self._without_token(self._tokens, environ, path)

    def _without_token(
        self, tokens: ClientTokens, environ: Mapping[str, Any], path: str
    ) -> str | Refused:
        segment, _, rest = path.removeprefix("/").partition("/")
        if tokens.accepts(segment):
            return f"/{rest}"
        authorization = environ.get("HTTP_AUTHORIZATION", "")
        if authorization[: len(_BEARER)].lower() == _BEARER:
            authorization = authorization[len(_BEARER) :].strip()
            if tokens.accepts(authorization):
                return path
        if tokens.accepts(environ.get(self._token_variable, "")):
            return path
        return NO_TOKEN

    def _is_allowed_host(self, host: str) -> bool:
        name = _name(host)
        if not name or name == "localhost" or name in (self._allowed or ()):
            return True
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        return True


def names_to_check(settings: Settings) -> Sequence[str] | None:
    """Return the names that `Host` may have; `None` if it may have any name.

    On a loopback address only programs of this machine can connect, so a name that the operator did
    not set can only come from a web page. On another address a name is normal: in a network of
    containers, clients use the name of the container.
    """
    if settings.allowed_hosts or is_loopback_listen(settings.listen):
        return settings.allowed_hosts
    return None


def _name(host: str) -> str:
    """Return the name or address in `Host`, without the port and in lower case."""
    name, colon, port = host.rpartition(":")
    return (name if colon and (not port or port.isdecimal()) else host).lower().rstrip(".")

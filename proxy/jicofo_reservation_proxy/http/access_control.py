"""Access control: which requests may ask. The checks need nothing but the head of a request.

- A web page in a browser on this machine must not use the proxy. Browsers send `Origin` with a
  request that a page of another site makes (the Fetch standard), and a page that gives its own name
  the address 127.0.0.1 (DNS rebinding) sends that name as `Host`.
- If there are client tokens, a client must show one: as `Authorization: Bearer TOKEN`, in the
  header `client_token_header`, or as the first segment of the path.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .client_tokens import ClientTokens
from .host_names import HostNames
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
    """Decides whether a request may ask. `allowed_hosts` is as in `HostNames`."""

    def __init__(
        self,
        allowed_hosts: Sequence[str] | None = None,
        tokens: ClientTokens | None = None,
        token_header: str | None = None,
    ) -> None:
        self._names = HostNames(allowed_hosts)
        self.client_tokens = self._tokens = tokens
        self._token_variable = "HTTP_" + (token_header or "").upper().replace("-", "_")

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
        if not self._names.allow(environ.get("HTTP_HOST", "")):
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

"""The status page and the status as JSON; over TCP, actions on deletions and the reload."""

import json
from collections.abc import Callable, Mapping
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, NamedTuple, Protocol

from flask import Flask, Response, request

from jicofo_reservation_proxy.clock import now_ms
from jicofo_reservation_proxy.errors import StateError
from jicofo_reservation_proxy.http.client_tokens import ClientTokens
from jicofo_reservation_proxy.ids import Named, decode
from jicofo_reservation_proxy.ledger.records import RecordState
from jicofo_reservation_proxy.settings.reloader import ReloadResult
from jicofo_reservation_proxy.text_rules import format_period, format_time

from .snapshot import Source, take
from .status import Status, to_json

if TYPE_CHECKING:
    from jinja2 import Template

JSON = "application/json"

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page loads only its own two files; `data:` is its empty icon."""

_ACTIONS: Mapping[str, RecordState] = {
    "retry": RecordState.ABANDONED,
    "abandon": RecordState.PENDING,
}
"""An action on a deletion → the state that the deletion must have."""

_BEARER = "bearer "


class Steerable(Source, Protocol):
    """A proxy whose status is shown, and whose deletions can be changed."""

    @property
    def admin_tokens(self) -> ClientTokens | None:
        """The tokens of `admin_token_file`; `None` without this setting."""

    @property
    def commands(self) -> Mapping[str, Callable[[str], bytes]]:
        """The commands of the control socket; none if the ledger is in memory."""


class _Refused(NamedTuple):
    status: int
    message: str


def add_pages(app: Flask, proxy: Steerable) -> None:
    """Add the routes to the application of the admin listener."""

    @app.get("/", provide_automatic_options=False)
    def page() -> Response:
        response = Response(to_html(take(proxy)), content_type="text/html; charset=utf-8")
        response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
        return response

    @app.get("/status.css", provide_automatic_options=False)
    def style() -> Response:
        return Response(_file("status.css"), content_type="text/css; charset=utf-8")

    @app.get("/status.js", provide_automatic_options=False)
    def script() -> Response:
        return Response(_file("status.js"), content_type="text/javascript; charset=utf-8")

    @app.get("/api/status", provide_automatic_options=False)
    def api_status() -> Response:
        return Response(json.dumps(to_json(take(proxy))), content_type=JSON)

    @app.post(
        "/api/ledger/<path:public_id>/<any(retry, abandon):action>",
        provide_automatic_options=False,
    )
    def change(public_id: str, action: str) -> Response:
        refused = refusal_of_token(proxy.admin_tokens) or _refusal_of(proxy, public_id, action)
        if refused is None:
            try:
                proxy.commands[action](public_id)
            except StateError as error:
                refused = _Refused(503, str(error))
        return _answer(refused, {"id": public_id})

    @app.post("/api/reload", provide_automatic_options=False)
    def reload() -> Response:
        refused = refusal_of_token(proxy.admin_tokens)
        result = ReloadResult() if refused else proxy.reloader.reload()
        if result.faults:
            refused = _Refused(422, "\n".join(result.faults))
        return _answer(refused, {"notes": list(result.notes)})


def _answer(refused: _Refused | None, done: Mapping[str, object]) -> Response:
    """Answer a request that changes something: with `done`, or with the refusal."""
    if refused is None:
        return Response(json.dumps(done), content_type=JSON)
    headers = {"WWW-Authenticate": "Bearer"} if refused.status == 401 else {}
    body = json.dumps({"message": refused.message})
    return Response(body, refused.status, headers, content_type=JSON)


def refusal_of_token(tokens: ClientTokens | None) -> _Refused | None:
    """Return why the request in progress may not change anything; `None` if it may."""
    if tokens is None:
        return _Refused(403, "set admin_token_file to change anything over admin_listen")
    authorization = request.headers.get("Authorization", "")
    is_bearer = authorization[: len(_BEARER)].lower() == _BEARER
    if not is_bearer:
        return _Refused(401, "wanted Authorization: Bearer TOKEN, with a token of admin_token_file")
    if not tokens.accepts(authorization[len(_BEARER) :].strip()):
        return _Refused(401, "wanted a token of admin_token_file, got another text")
    return None


def _refusal_of(proxy: Steerable, public_id: str, action: str) -> _Refused | None:
    found = decode(public_id)
    record = proxy.ledger.find(found.ref) if isinstance(found, Named) else None
    if record is None or action not in proxy.commands:
        return _Refused(404, "the ledger has no conference with this id")
    wanted = _ACTIONS[action]
    if record.state is not wanted:
        message = f"wanted a deletion that is {wanted.value}, got one that is {record.state.value}"
        return _Refused(409, message)
    return None


def to_html(status: Status) -> str:
    """Return the status page."""
    return _template().render(status=status)


def _file(name: str) -> bytes:
    return resources.files(__package__).joinpath("page", name).read_bytes()


@cache
def _template() -> "Template":
    """Return the template. It is read at the first page, so that the start stays fast."""
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters |= {
        "rfc3339": format_time,
        "clock": lambda at_ms: format_time(at_ms)[:19].replace("T", " "),
        "ago": lambda at_ms: format_period((now_ms() - at_ms) / 1000),
    }
    return environment.from_string(_file("status.html").decode())

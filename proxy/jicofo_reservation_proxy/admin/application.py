"""The application of the admin listener: health, metrics and the status page.

It only reads, except for requests with a token of `admin_token_file`.

Answers have neither a stack trace nor a redirect, and no answer may be stored by a cache.
"""

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Protocol

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from jicofo_reservation_proxy.http.host_names import HostNames, names_to_check
from jicofo_reservation_proxy.observability.health import Health
from jicofo_reservation_proxy.observability.metrics import Metrics
from jicofo_reservation_proxy.settings.schema import Settings

from .admission import AdminRefusals, refusal_of
from .pages import Steerable, add_pages
from .probes import verdict

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

PLAIN_TEXT = "text/plain; charset=utf-8"

logger = logging.getLogger(__name__)


class RunningProxy(Steerable, Protocol):
    """What the admin listener shows of a proxy. The values may change while the proxy runs."""

    metrics: Metrics
    health: Health

    @property
    def settings(self) -> Settings:
        """The settings in effect."""

    @property
    def is_ready(self) -> Callable[[], bool]:
        """Whether the proxy listens and is not stopping."""


def make_admin(proxy: RunningProxy) -> Flask:
    """Return the Flask application of the admin listener."""
    app = Flask("jicofo_reservation_proxy.admin", static_folder=None)
    app.url_map.merge_slashes = False
    app.register_error_handler(HTTPException, partial(_http_error, app))
    app.register_error_handler(Exception, _unexpected)
    app.after_request(_protected)
    _add_probes(app, proxy)
    _add_metrics(app, proxy)
    add_pages(app, proxy)
    app.wsgi_app = _Entrance(proxy, app.wsgi_app)  # type: ignore[method-assign]
    return app


def _add_probes(app: Flask, proxy: RunningProxy) -> None:
    @app.get("/livez", provide_automatic_options=False)
    def livez() -> Response:
        return _probe("livez", proxy, is_ok=True)

    @app.get("/readyz", provide_automatic_options=False)
    def readyz() -> Response:
        return _probe("readyz", proxy, is_ok=proxy.is_ready())


def _add_metrics(app: Flask, proxy: RunningProxy) -> None:
    @app.get("/metrics", provide_automatic_options=False)
    def metrics() -> Response:
        from .exposition import compressed, exposed  # noqa: PLC0415 - at the first scrape

        text, content_type = exposed(proxy.metrics.registry, request.headers.get("Accept", ""))
        body, coding = compressed(text, request.headers.get("Accept-Encoding", ""))
        response = Response(body, content_type=content_type)
        response.headers["Vary"] = "Accept, Accept-Encoding"
        if coding:
            response.headers["Content-Encoding"] = coding
        return response


def _probe(name: str, proxy: RunningProxy, *, is_ok: bool) -> Response:
    is_verbose = "verbose" in request.args
    states = proxy.health.states() if is_verbose else []
    text = verdict(name, states, is_ok=is_ok, is_verbose=is_verbose)
    return Response(text, 200 if is_ok else 503, content_type=PLAIN_TEXT)


def _protected(response: Response) -> Response:
    """Add the headers that keep a browser from storing, framing or guessing an answer."""
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["X-Frame-Options"] = "DENY"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers.setdefault(
        "Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"
    )
    return response


def _http_error(app: Flask, error: HTTPException) -> Response:
    """Answer an unknown path, or a method other than GET and HEAD."""
    status = error.code or 500
    known = sorted({rule.rule for rule in app.url_map.iter_rules()})
    text = f"{status}: wanted one of GET {', '.join(known)}\n"
    response = Response(text, status, content_type=PLAIN_TEXT)
    response.headers.extend((name, value) for name, value in error.get_headers() if name == "Allow")
    return response


def _unexpected(error: Exception) -> Response:
    """Answer a request that failed because of a bug in the proxy; log the traceback."""
    logger.error("admin_listen: a fault of the proxy in %s", request.path, exc_info=error)
    text = "500: a fault of the proxy; its log has the details\n"
    return Response(text, 500, content_type=PLAIN_TEXT)


class _Entrance:
    """The WSGI application in front of Flask's: it refuses requests of other sites."""

    def __init__(self, proxy: RunningProxy, flask_app: "WSGIApplication") -> None:
        self._proxy = proxy
        self._flask_app = flask_app
        self._refusals = AdminRefusals(proxy.metrics.admin_refusals)

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        settings = self._proxy.settings
        names = HostNames(names_to_check(settings.admin_listen, settings.allowed_hosts))
        refusal = refusal_of(environ, names)
        if refusal is None:
            return self._flask_app(environ, start_response)
        self._refusals.note(refusal, environ.get("REMOTE_ADDR", ""))
        body = f"{refusal.status}: {refusal.message}\n".encode()
        headers = [("Content-Type", PLAIN_TEXT), ("Content-Length", str(len(body)))]
        start_response("403 Forbidden", headers)
        return [body]

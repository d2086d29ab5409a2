"""The connections to one HTTP backend, with the newest credentials that the backend accepts."""

from __future__ import annotations

import ssl
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPException, IncompleteRead
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.exceptions import InvalidHeader, ProtocolError
from urllib3.util import Timeout

from jicofo_reservation_proxy import __version__
from jicofo_reservation_proxy.backends.backend import PROBE_ID
from jicofo_reservation_proxy.backends.credential_rotation import (
    TRY_SECONDS,
    Rotation,
    TrialFailure,
)
from jicofo_reservation_proxy.backends.credentials import Credentials
from jicofo_reservation_proxy.errors import CredentialsError
from jicofo_reservation_proxy.ids import new_incident_id
from jicofo_reservation_proxy.model import FaultKind
from jicofo_reservation_proxy.settings.addresses import is_local_url
from jicofo_reservation_proxy.settings.schema import Tls

from .exchange import BAD_BODY, NOT_HTTP, Answer, NoAnswerError, Request
from .http_statuses import FAULT_KINDS
from .kept_connections import NoConnectionError, pool_classes, tls_context
from .name_lookups import NameLookups
from .targets import Targets

MAX_BODY_BYTES = 64 * 1024
"""The largest body that the proxy reads, also after decompression. The fields of the largest valid
answer have less than 12 kB."""

_CALLS_WITHOUT_LIMIT = 8
"""Deletions, idle probes and trial calls do not count for `in_flight`; there are few of them."""

_GZIP = frozenset({"gzip", "x-gzip"})
_OTHER_CODINGS = frozenset({"br", "compress", "deflate", "x-compress", "zstd"})
"""The proxy asks for none of them. What such a body says is unknown: it may be a page. Other words
are no codings: some scripts send `Content-Encoding: UTF-8`."""

INCIDENT_HEADER = "X-Incident-Id"
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class _Opened:
    """The pool of connections, the prefix of the URLs, and the headers of all requests.

    `url` is "" unless a proxy forwards the requests: only then they name the server (RFC 9112,
    section 3.2.2).
    """

    pool: urllib3.HTTPConnectionPool | urllib3.ProxyManager
    url: str
    headers: Mapping[str, str] = field(repr=False)


class HttpConnections(Rotation[_Opened]):
    """The connections to one HTTP backend, with the newest credentials that the backend accepts.

    The constructor raises `CredentialsError` if it cannot use the credential files. It connects at
    the first request.
    """

    def exchange(self, request: Request, within_seconds: float) -> Answer:
        """Send a request and read the answer. Raises `NoAnswerError`."""
        return _exchange(self._opened, request, within_seconds)

    def _open(self, found: Credentials, known: _Opened | None) -> _Opened:
        url = urlsplit(self._backend.target)
        opened = known or self._pool(url, found)
        headers = {
            "User-Agent": f"jicofo-reservation-proxy/{__version__}",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            **self._backend.metadata,
            **dict(found.metadata),
        }
        if self._backend.tls and (name := self._backend.tls.server_name):
            port = "" if url.port in {None, 443} else f":{url.port}"
            headers["Host"] = f"{name}{port}"
        return _Opened(opened.pool, opened.url, headers)

    def _pool(self, url: SplitResult, found: Credentials) -> _Opened:
        host, port = str(url.hostname), url.port or _PORTS[url.scheme]
        is_local = url.scheme == "http" and self._backend.auth.has_secret
        options: dict[str, Any] = {
            "maxsize": int(self._backend.in_flight) + _CALLS_WITHOUT_LIMIT,
            "retries": False,
        }
        if url.scheme == "https":
            options |= self._tls_options(found)
        proxy = None if is_local_url(self._backend.target) else _environment_proxy(url)
        if proxy is None:
            classes = pool_classes(NameLookups(host, port), is_local=is_local)
            return _Opened(classes[url.scheme](host, port, **options), "", {})
        found_proxy = urlsplit(proxy)
        if found_proxy.scheme != "http" or not found_proxy.hostname:
            raise CredentialsError(
                f"{self._key}.target: wanted an http:// URL in the variable {url.scheme}_proxy, "
                "got another one; correct it, or name the host of the target in no_proxy"
            )
        lookups = NameLookups(found_proxy.hostname, found_proxy.port or 80)
        manager = urllib3.ProxyManager(
            f"http://{found_proxy.netloc.rpartition('@')[2]}",
            proxy_headers=_proxy_headers(found_proxy),
            **options,
        )
        manager.pool_classes_by_scheme = pool_classes(lookups, is_local=False)
        return _Opened(manager, f"{url.scheme}://{url.netloc}", {})

    def _tls_options(self, found: Credentials) -> dict[str, Any]:
        """Return the TLS of the connections: by default with the authorities of the system."""
        tls, files = self._backend.tls or Tls(), found.tls
        try:
            context = tls_context(files.ca if files else None)
            if tls.cert_file and tls.key_file:
                context.load_cert_chain(tls.cert_file, tls.key_file, password=lambda: b"")
        except (ssl.SSLError, OSError) as error:  # the files have changed since they were read
            raise CredentialsError(f"{self._key}.tls: cannot use the files: {error}") from None
        return {"ssl_context": context, "server_hostname": tls.server_name or None}

    def _close(self, opened: _Opened) -> None:
        """Close the idle connections. Those in use close at the deadline of their call."""
        if isinstance(opened.pool, urllib3.ProxyManager):
            opened.pool.clear()
        else:
            opened.pool.close()

    def _trial_failure(self, opened: _Opened) -> TrialFailure | None:
        """Read a conference that does not exist."""
        targets = Targets(self._backend)
        if targets.get is None:
            return None
        headers = {INCIDENT_HEADER: new_incident_id()}
        request = Request(targets.get.method, targets.get.for_conference(PROBE_ID), headers)
        try:
            answer = _exchange(opened, request, TRY_SECONDS)
        except NoAnswerError as error:
            return TrialFailure(error.code, is_refusal=False, detail=error.detail)
        if FAULT_KINDS.get(answer.status) is FaultKind.UNAUTHORIZED:
            return TrialFailure(str(answer.status), is_refusal=True, detail="")
        return None


def _environment_proxy(url: SplitResult) -> str | None:
    """Return the URL of the proxy that the environment names for a server; `None` without one."""
    # no_proxy may name a host with a port, also with the default one.
    server = f"{url.hostname}:{url.port or _PORTS[url.scheme]}"
    is_bypassed = proxy_bypass(server)
    return None if is_bypassed else getproxies().get(url.scheme)


def _proxy_headers(proxy: SplitResult) -> Mapping[str, str] | None:
    if not proxy.username:
        return None
    credentials = proxy.netloc.rpartition("@")[0]
    return urllib3.make_headers(proxy_basic_auth=unquote(credentials))


def _exchange(opened: _Opened, request: Request, within_seconds: float) -> Answer:
    try:
        response = opened.pool.urlopen(
            request.method,
            opened.url + request.target,
            body=request.body,
            headers={**opened.headers, **request.headers},
            retries=False,
            redirect=False,
            timeout=Timeout(total=max(0.001, within_seconds)),
            preload_content=False,
            decode_content=False,
        )
        return _read(response)
    except NoConnectionError as error:
        kind, code = FaultKind.UNREACHABLE, "NO_CONNECTION"
        if error.is_timeout:
            kind, code = FaultKind.SLOW, "TIMEOUT"
        is_retryable = not error.is_certificate
        raise NoAnswerError(
            kind, code, str(error), was_sent=False, is_retryable=is_retryable
        ) from error
    except (urllib3.exceptions.TimeoutError, TimeoutError) as error:
        detail = "the answer was not complete at the deadline"
        raise NoAnswerError(
            FaultKind.SLOW, "TIMEOUT", detail, was_sent=True, is_lost=True
        ) from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        if _is_no_http(error):
            raise _unusable(NOT_HTTP, f"the answer is not HTTP: {error}") from error
        detail = f"{type(error).__name__}: {error}"
        raise NoAnswerError(
            FaultKind.UNREACHABLE, "CONNECTION_LOST", detail, was_sent=True, is_lost=True
        ) from error


def _is_no_http(error: Exception) -> bool:
    """Return whether an answer breaks the rules of HTTP, so that it did not merely end too soon."""
    cause = error.args[-1] if isinstance(error, ProtocolError) else error
    if isinstance(cause, OSError | IncompleteRead | urllib3.exceptions.IncompleteRead):
        return False
    return isinstance(cause, HTTPException | InvalidHeader)


def _read(response: urllib3.BaseHTTPResponse) -> Answer:
    """Read a bounded body. Raises the errors of urllib3, and `NoAnswerError` if it is too large."""
    try:
        data = b""
        # The last read, which returns nothing, raises an error if the body is not complete.
        while part := response.read(MAX_BODY_BYTES + 1 - len(data)):
            data += part
            if len(data) > MAX_BODY_BYTES:
                raise _too_large()
        response.release_conn()
    except ValueError as error:  # http.client fails at a chunk of a negative size
        raise ProtocolError(f"a wrong body: {error}", HTTPException(str(error))) from error
    finally:
        response.close()  # does nothing to a connection that was released
    coding = response.headers.get("Content-Encoding", "").strip().lower()
    if data and coding in _OTHER_CODINGS:
        raise _unusable(BAD_BODY, f"wanted a body as it is or with gzip, got one with {coding}")
    if data and coding in _GZIP:
        data = _decompressed(data)
    return Answer(response.status, data, response.headers.get("Location", ""))


def _decompressed(data: bytes) -> bytes:
    """Return a body that was compressed with gzip, but never more than the limit."""
    try:
        reader = zlib.decompressobj(wbits=31)
        decompressed = reader.decompress(data, MAX_BODY_BYTES + 1)
    except zlib.error as error:
        raise _unusable(BAD_BODY, f"the body is not gzip, as its header says: {error}") from error
    if len(decompressed) > MAX_BODY_BYTES:
        raise _too_large()
    if not reader.eof:
        raise _unusable(BAD_BODY, "the body with gzip is not complete")
    return decompressed


def _unusable(code: str, detail: str) -> NoAnswerError:
    return NoAnswerError(FaultKind.BROKEN, code, detail, was_sent=True, is_retryable=False)


def _too_large() -> NoAnswerError:
    return _unusable(BAD_BODY, f"wanted a body of at most {MAX_BODY_BYTES} bytes, got more")

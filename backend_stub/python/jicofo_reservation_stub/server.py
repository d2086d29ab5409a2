"""A gRPC server for the service: TLS, an API key, health checking and reflection."""

# grpc's classes accept type arguments only in their type stubs, not when the program runs.
from __future__ import annotations

import errno
import hmac
import logging
import socket
import ssl
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2_grpc as pb_grpc

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["ReservationService"].full_name
DEFAULT_API_KEY_HEADER = "x-api-key"
DEFAULT_GRACE_SECONDS = 5.0

# Callers without an API key use these services: probes and command line tools.
_KEYLESS_SERVICES = (health.SERVICE_NAME, reflection.SERVICE_NAME)

_CHANNEL_OPTIONS: list[tuple[str, int]] = [
    # A request has a few hundred bytes, and never more than the largest form that the proxy
    # accepts. With gRPC's default limit, 4 MiB, the store could use too much memory.
    ("grpc.max_receive_message_length", 256 * 1024),
    # Without this option, Linux lets a second server share the port, and each server gets a part
    # of the calls.
    ("grpc.so_reuseport", 0),
    # The maximum number of open calls on each connection. It limits the calls that wait for a
    # thread; gRPC has no limit by default. RFC 9113, 6.5.2, recommends at least 100.
    ("grpc.max_concurrent_streams", 1000),
    # A client may ping an idle connection every 10 s to detect a broken connection early. The
    # network may delay one ping and not the next, so the server accepts an interval of 5 s. With
    # gRPC's default, 5 minutes, the server answers the third ping with GOAWAY (grpc/grpc
    # doc/keepalive.md).
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    # The server ends each connection after about five minutes, and running calls have 20 s to
    # finish. The client then looks the name of the server up again, so that it finds replicas that
    # were added (grpc/proposal A9). By default, a connection lives forever.
    ("grpc.max_connection_age_ms", 300_000),
    ("grpc.max_connection_age_grace_ms", 20_000),
]

_FILE_TYPES = {
    stat.S_IFREG: "a regular file",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
}

# The maximum number of calls that run at the same time. A call on the in-memory store takes
# microseconds; with a database, this is the maximum number of calls that wait for it.
_THREADS = 8

_logger = logging.getLogger(__name__)
_Request = TypeVar("_Request")
_Response = TypeVar("_Response")


class CredentialsError(Exception):
    """A TLS file is not usable; the text names the file and the reason."""


class ListenError(Exception):
    """The server could not listen on its address."""


@dataclass(frozen=True, slots=True)
class Tls:
    """The certificate of the server, and the authority of its clients. All values are PEM.

    With `client_ca`, the server accepts only clients with a certificate of that authority (mTLS).
    """

    certificate_chain: bytes
    private_key: bytes = field(repr=False)
    client_ca: bytes | None = None

    @classmethod
    def from_files(cls, cert: Path, key: Path, client_ca: Path | None = None) -> Self:
        """Read and check the files, so that an error appears now and not in every handshake.

        Raises CredentialsError when a file is not readable, when a file is not PEM, when the key
        is encrypted, or when the key does not belong to the certificate.
        """
        try:
            tls = cls(
                cert.read_bytes(),
                key.read_bytes(),
                None if client_ca is None else client_ca.read_bytes(),
            )
        except OSError as error:
            raise CredentialsError(
                f"wanted a readable file, got {error.filename}: {error.strerror}"
            ) from error
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            # With an empty password, OpenSSL rejects an encrypted key instead of asking for its
            # password on the terminal.
            context.load_cert_chain(cert, key, password="")
        except ssl.SSLError as error:
            raise CredentialsError(
                "wanted a PEM certificate chain and its unencrypted private key, "
                f"got {cert} and {key}: {error}"
            ) from error
        try:
            if client_ca is not None:
                context.load_verify_locations(client_ca)
        except ssl.SSLError as error:
            raise CredentialsError(
                f"wanted PEM certificates of an authority, got {client_ca}: {error}"
            ) from error
        return tls

    def server_credentials(self) -> grpc.ServerCredentials:
        """Return the same data in gRPC's type."""
        return grpc.ssl_server_credentials(
            [(self.private_key, self.certificate_chain)],
            root_certificates=self.client_ca,
            require_client_auth=self.client_ca is not None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of a server.

    `listen` is "host:port" or "unix:/path"; port 0 means any free port. Without `tls` the server
    uses plaintext. Without `api_key` the server requires no key. `api_key_header` is in lower case,
    as gRPC requires for metadata keys. `grace_seconds` is the time that running calls get when the
    server stops.
    """

    listen: str
    tls: Tls | None = None
    api_key: str | None = field(default=None, repr=False)
    api_key_header: str = DEFAULT_API_KEY_HEADER
    grace_seconds: float = DEFAULT_GRACE_SECONDS


class ApiKeyInterceptor(grpc.ServerInterceptor):
    """Accepts a call that carries the API key. Health checks and reflection need no key."""

    def __init__(self, header: str, key: str) -> None:
        self._header = header
        self._key = key.encode()

    def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], grpc.RpcMethodHandler[_Request, _Response] | None
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[_Request, _Response] | None:
        """Pass the call to its handler, or answer it with UNAUTHENTICATED."""
        service = handler_call_details.method.removeprefix("/").partition("/")[0]
        if service in _KEYLESS_SERVICES or self._has_key(handler_call_details):
            return continuation(handler_call_details)
        _logger.warning("%s: refused, the call has no valid API key", handler_call_details.method)
        return grpc.unary_unary_rpc_method_handler(self._refuse)

    def _has_key(self, details: grpc.HandlerCallDetails) -> bool:
        values = [value for name, value in details.invocation_metadata if name == self._header]
        given = [value if isinstance(value, bytes) else value.encode() for value in values]
        # The comparison takes constant time, so that nobody can find the key by measuring how
        # long an answer takes.
        return any(hmac.compare_digest(value, self._key) for value in given)

    def _refuse(self, _request: object, context: grpc.ServicerContext) -> object:
        context.abort(
            grpc.StatusCode.UNAUTHENTICATED,
            f"{self._header}: wanted the API key of this server, got no key or another key",
        )


class Server:
    """A gRPC server for the service. As a context manager, the server starts and stops."""

    def __init__(self, service: pb_grpc.ReservationServiceServicer, options: Options) -> None:
        self._options = options
        self._health = health.HealthServicer()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="reservation")
        interceptors: list[grpc.ServerInterceptor] = []
        if options.api_key is not None:
            interceptors.append(ApiKeyInterceptor(options.api_key_header, options.api_key))
        self._server = grpc.server(
            self._threads, interceptors=interceptors, options=_CHANNEL_OPTIONS
        )
        pb_grpc.add_ReservationServiceServicer_to_server(service, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (SERVICE_NAME, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)

    def start(self) -> str:
        """Start to serve; return the address, with the real port when the port was 0.

        Raises ListenError when the address is in use or does not belong to this machine.
        """
        address = self._bind()
        self._server.start()
        for name in (health.OVERALL_HEALTH, SERVICE_NAME):
            self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        return address

    def stop(self) -> None:
        """Stop gracefully.

        Health checks report NOT_SERVING, the server accepts no new calls, and it cancels the calls
        that still run after `grace_seconds`.
        """
        self._health.enter_graceful_shutdown()
        self._server.stop(self._options.grace_seconds).wait()
        self._threads.shutdown()

    def _bind(self) -> str:
        listen = self._options.listen
        if listen.startswith("unix:"):
            _check_path(listen)
        try:
            port = self._add_port(listen)
        except RuntimeError as error:
            raise ListenError(
                f"{listen}: wanted a free address of this machine, but could not listen there; "
                "stop the server that uses the address, or choose another one (port 0: any free "
                "port)"
            ) from error
        return listen if listen.startswith("unix:") else f"{listen.rpartition(':')[0]}:{port}"

    def _add_port(self, listen: str) -> int:
        if self._options.tls is None:
            return self._server.add_insecure_port(listen)
        return self._server.add_secure_port(listen, self._options.tls.server_credentials())

    def __enter__(self) -> str:
        """Start the server; return the address."""
        return self.start()

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        """Stop the server gracefully."""
        self.stop()


def _check_path(listen: str) -> None:
    """Raise ListenError unless the path is free or gRPC may replace the socket file on it.

    gRPC deletes a socket before it listens on its path. It also deletes a symbolic link to a
    socket, and the socket of a server that runs.
    """
    path = Path(listen.removeprefix("unix:").removeprefix("//"))
    try:
        mode = path.lstat().st_mode
    except OSError:
        # The path is free, or gRPC reports the error.
        return
    if not stat.S_ISSOCK(mode):
        file_type = _FILE_TYPES.get(stat.S_IFMT(mode), "a device")
        raise ListenError(
            f"{listen}: wanted a free path, but {file_type} is there; remove it or choose another "
            "path"
        )
    if not _is_stale(path):
        raise ListenError(
            f"{listen}: wanted a free path, but another server listens there; stop that server or "
            "choose another path"
        )


def _is_stale(path: Path) -> bool:
    """Return whether no process uses the socket; only ECONNREFUSED shows that."""
    with socket.socket(socket.AF_UNIX) as client:
        try:
            return client.connect_ex(str(path)) == errno.ECONNREFUSED
        except OSError:
            # The path is too long to connect or to listen: gRPC reports the error.
            return True

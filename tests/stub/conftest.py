"""Fixtures: real servers on free ports, channels to them, and a clock that the test moves."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
import trustme
from jicofo_reservation_stub.server import Options, Server, Tls
from jicofo_reservation_stub.service import ReservationService

CHANNEL_OPTIONS = [
    # Calls to this machine must not go through an HTTP proxy that the environment names.
    ("grpc.enable_http_proxy", 0),
    # gRPC's default, one second, is too long: the server starts in much less time.
    ("grpc.initial_reconnect_backoff_ms", 100),
]

Serve = Callable[..., str]
Connect = Callable[..., grpc.Channel]


class FakeClock:
    """A clock that moves only when the test calls `advance`."""

    def __init__(self) -> None:
        self.now = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)

    def __call__(self) -> datetime:
        """Return the time of this clock."""
        return self.now

    def advance(self, **span: float) -> None:
        """Move the clock forward; `span` holds arguments of timedelta, such as `seconds=1`."""
        self.now += timedelta(**span)


class Authority:
    """A certificate authority that writes its certificates to files."""

    def __init__(self, folder: Path, name: str) -> None:
        self._ca = trustme.CA()
        self._folder = folder
        self.file = folder / f"{name}-ca.pem"
        self._ca.cert_pem.write_to_path(str(self.file))

    def issue(self, identity: str) -> tuple[Path, Path]:
        """Issue a certificate; return the files of the certificate and of its key."""
        issued = self._ca.issue_cert(identity)
        cert, key = (self._folder / f"{identity}.{kind}.pem" for kind in ("cert", "key"))
        issued.private_key_pem.write_to_path(str(key))
        cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        return cert, key


@pytest.fixture
def clock() -> FakeClock:
    """Return a new clock for each test."""
    return FakeClock()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Return the authority that both sides trust."""
    return Authority(tmp_path_factory.mktemp("pki"), "good")


@pytest.fixture(scope="session")
def other_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Return an authority that the other side does not trust."""
    return Authority(tmp_path_factory.mktemp("pki"), "other")


@pytest.fixture(scope="session")
def tls(authority: Authority) -> Tls:
    """Return the certificate and key of a server named localhost."""
    return Tls.from_files(*authority.issue("localhost"))


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a server for a service with the given options; return its address."""
    with ExitStack() as stack:

        def start(
            service: ReservationService | None = None,
            *,
            listen: str = "127.0.0.1:0",
            tls: Tls | None = None,
            api_key: str | None = None,
        ) -> str:
            options = Options(listen=listen, tls=tls, api_key=api_key, grace_seconds=5)
            return stack.enter_context(Server(service or ReservationService(), options))

        yield start


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Open a channel, which is closed after the test.

    With `ca`, the file of an authority, the channel uses TLS. `client` holds the files of a
    client's certificate and key, for mTLS.
    """
    with ExitStack() as stack:

        def dial(
            address: str, ca: Path | None = None, client: tuple[Path, Path] | None = None
        ) -> grpc.Channel:
            if ca is None:
                channel = grpc.insecure_channel(address, CHANNEL_OPTIONS)
            else:
                cert, key = (path.read_bytes() for path in client) if client else (None, None)
                credentials = grpc.ssl_channel_credentials(ca.read_bytes(), key, cert)
                channel = grpc.secure_channel(address, credentials, CHANNEL_OPTIONS)
            return stack.enter_context(channel)

        yield dial

"""TLS of the listener: the certificate that the proxy shows to Jicofo and Prosody."""

import logging
import ssl
from dataclasses import dataclass, field

from jicofo_reservation_proxy import credential_files
from jicofo_reservation_proxy.certificates import (
    CertificateEnd,
    end_of_authorities,
    end_of_chain,
)
from jicofo_reservation_proxy.clock import now_ms
from jicofo_reservation_proxy.credential_files import TlsFiles
from jicofo_reservation_proxy.errors import CredentialsError
from jicofo_reservation_proxy.observability.health import Health
from jicofo_reservation_proxy.observability.metrics import Metrics
from jicofo_reservation_proxy.settings.schema import ListenTls

from .reloaded import Reloaded

KEY = "listen_tls"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Loaded:
    files: TlsFiles
    context: ssl.SSLContext = field(compare=False)


class ListenerTls:
    """The certificate and the key. `refresh` uses new files for new connections, if they are valid.

    The constructor raises `CredentialsError` if the files cannot be used.
    """

    def __init__(self, tls: ListenTls, metrics: Metrics, health: Health | None = None) -> None:
        self.settings = tls
        self._loaded = Reloaded(KEY, lambda: _load(tls), metrics, health)
        self.refresh = self._loaded.refresh
        if warning := credential_files.exposure(f"{KEY}.key_file", tls.key_file):
            logger.warning("%s", warning)

    @property
    def certificates(self) -> list[CertificateEnd]:
        """When the certificates in use end: the own one, and those of the clients' authorities."""
        files = self._loaded.value.files
        return [
            *end_of_chain(f"{KEY}.cert_file", files.cert),
            *end_of_authorities(f"{KEY}.ca_file", files.ca, now_ms()),
        ]

    @property
    def context(self) -> ssl.SSLContext:
        """The context for the next connection."""
        return self._loaded.value.context


def _load(tls: ListenTls) -> _Loaded:
    """Read and check the files; the default protocols are TLS 1.2 and 1.3."""
    files = credential_files.read_tls(KEY, tls)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.options |= ssl.OP_NO_RENEGOTIATION
    try:
        context.load_cert_chain(tls.cert_file, tls.key_file, password=lambda: b"")
    except (ssl.SSLError, OSError) as error:  # the files have changed since they were read
        raise CredentialsError(f"{KEY}: cannot use {tls.cert_file}: {error}") from None
    if files.ca is not None:
        context.load_verify_locations(cadata=files.ca.decode("ascii", "ignore"))
        context.verify_mode = ssl.CERT_REQUIRED
    return _Loaded(files, context)

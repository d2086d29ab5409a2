"""TLS of the listener: the certificate that the proxy shows to Jicofo and Prosody."""

import logging
import ssl

from jicofo_reservation_proxy import credential_files
from jicofo_reservation_proxy.errors import CredentialsError
from jicofo_reservation_proxy.observability.metrics import Metrics
from jicofo_reservation_proxy.settings.schema import ListenTls

KEY = "listen_tls"

logger = logging.getLogger(__name__)


class ListenerTls:
    """The certificate and the key. `refresh` uses new files for new connections, if they are valid.

    The constructor raises `CredentialsError` if the files cannot be used.
    """

    def __init__(self, tls: ListenTls, metrics: Metrics) -> None:
        self._tls = tls
        self._metrics = metrics
        self._complaint = ""
        self._files = credential_files.read_tls(KEY, tls)
        self._context = _context(tls, self._files)
        if warning := credential_files.exposure(f"{KEY}.key_file", tls.key_file):
            logger.warning("%s", warning)

    @property
    def context(self) -> ssl.SSLContext:
        """The context for the next connection."""
        return self._context

    def refresh(self) -> None:
        """Read the files again. The log contains a repeated failure only once."""
        try:
            found = credential_files.read_tls(KEY, self._tls)
            if found != self._files:
                self._context = _context(self._tls, found)
                self._files = found
                self._metrics.listener_reloads.labels(KEY, "ok").inc()
                logger.info("%s: the new certificate is in use", KEY)
        except CredentialsError as error:
            self._metrics.listener_reloads.labels(KEY, "failed").inc()
            if self._complaint != str(error):
                logger.error(  # noqa: TRY400 - the message says everything
                    "%s; the old certificate stays in use, and the proxy will try again", error
                )
            self._complaint = str(error)
        else:
            self._complaint = ""


def _context(tls: ListenTls, files: credential_files.TlsFiles) -> ssl.SSLContext:
    """Return a context for files that are valid; the default protocols are TLS 1.2 and 1.3."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.options |= ssl.OP_NO_RENEGOTIATION
    try:
        context.load_cert_chain(tls.cert_file, tls.key_file, password=lambda: b"")
    except (ssl.SSLError, OSError) as error:  # the files have changed since they were read
        raise CredentialsError(f"{KEY}: cannot use {tls.cert_file}: {error}") from None
    if files.ca is not None:
        context.load_verify_locations(cadata=files.ca.decode("ascii", "ignore"))
        context.verify_mode = ssl.CERT_REQUIRED
    return context

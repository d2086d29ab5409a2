"""Client tokens: the secrets that a client must show, from a file with one token on each line."""

import hashlib
import hmac
import logging
from collections.abc import Sequence
from pathlib import Path

from jicofo_reservation_proxy import credential_files
from jicofo_reservation_proxy.observability.health import Health
from jicofo_reservation_proxy.observability.metrics import Metrics

from .reloaded import Reloaded

KEY = "client_token_file"

logger = logging.getLogger(__name__)


class ClientTokens:
    """The valid tokens. `refresh` reads the file again, and keeps the old tokens if it is wrong.

    `key` is the setting that names the file.

    The constructor raises `CredentialsError` if the file cannot be used.
    """

    def __init__(
        self, file: Path, metrics: Metrics, health: Health | None = None, *, key: str = KEY
    ) -> None:
        self.file = file
        self._digests = Reloaded(key, lambda: _digests(key, file), metrics, health)
        self.refresh = self._digests.refresh
        if warning := credential_files.exposure(key, file):
            logger.warning("%s", warning)

    @property
    def digests(self) -> Sequence[bytes]:
        """The digests of the valid tokens; another object after the tokens have changed."""
        return self._digests.value

    def accepts(self, text: str) -> bool:
        """Return whether a text is a valid token. The time does not depend on the text.

        The comparison is of digests, so it does not show the length of a token either.
        """
        digest = _digest(text.encode("latin-1", "replace"))
        return sum(hmac.compare_digest(digest, valid) for valid in self.digests) > 0


def _digests(key: str, file: Path) -> list[bytes]:
    return [_digest(token) for token in credential_files.read_tokens(key, file)]


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()

"""Client tokens: the secrets that a client must show, from a file with one token on each line."""

import hashlib
import hmac
import logging
import re
from pathlib import Path

from jicofo_reservation_proxy import credential_files
from jicofo_reservation_proxy.errors import CredentialsError
from jicofo_reservation_proxy.observability.metrics import Metrics

from .reloaded import Reloaded

KEY = "client_token_file"

MAX_TOKENS = 100

_TOKEN = re.compile(rb"[A-Za-z0-9._~-]{16,256}")
"""A token may be a segment of a path, so it has only characters that need no escape there (RFC
3986, section 2.3)."""

logger = logging.getLogger(__name__)


class ClientTokens:
    """The valid tokens. `refresh` reads the file again, and keeps the old tokens if it is wrong.

    The constructor raises `CredentialsError` if the file cannot be used.
    """

    def __init__(self, file: Path, metrics: Metrics) -> None:
        self._digests = Reloaded(KEY, lambda: [_digest(token) for token in _read(file)], metrics)
        self.refresh = self._digests.refresh
        if warning := credential_files.exposure(KEY, file):
            logger.warning("%s", warning)

    def accepts(self, text: str) -> bool:
        """Return whether a text is a valid token. The time does not depend on the text.

        The comparison is of digests, so it does not show the length of a token either.
        """
        digest = _digest(text.encode("latin-1", "replace"))
        return sum(hmac.compare_digest(digest, valid) for valid in self._digests.value) > 0


def first_token(file: Path) -> str:
    """Return the first token of a file. Raises `CredentialsError` if the file cannot be used."""
    return _read(file)[0].decode("ascii")


def _read(file: Path) -> list[bytes]:
    lines = [line.strip() for line in credential_files.read(KEY, file).splitlines()]
    tokens = [line for line in lines if line]
    for number, line in enumerate(lines, start=1):
        if line and not _TOKEN.fullmatch(line):
            raise CredentialsError(
                f"{KEY}: wanted one token on each line of {file}, of 16 to 256 letters, digits and "
                f"'-', '.', '_' or '~', got another text in line {number} (not shown: it may be a "
                "secret); make a token with: openssl rand -hex 32"
            )
    if not 1 <= len(tokens) <= MAX_TOKENS:
        raise CredentialsError(
            f"{KEY}: wanted 1 to {MAX_TOKENS} tokens in {file}, got {len(tokens)}; make a token "
            "with: openssl rand -hex 32"
        )
    return tokens


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()

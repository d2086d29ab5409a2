"""Read the files that hold credentials: whole, bounded, and without showing their contents.

Secrets are in files only. The proxy reads each file completely and checks it before use, so it
refuses half-written files and a key that does not match its certificate.
"""

import os
import re
import ssl
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from .errors import CredentialsError

MAX_FILE_BYTES = 1024 * 1024
"""Larger than a file with the certificates of all public authorities."""

MAX_TOKENS = 100

MIN_TOKEN_CHARACTERS = 16

_READ_ATTEMPTS = 3
_TOKEN = re.compile(rb"[A-Za-z0-9._~-]{%d,256}" % MIN_TOKEN_CHARACTERS)
"""A token may be a segment of a path, so it has only characters that need no escape there (RFC
3986, section 2.3)."""


class TlsSettings(Protocol):
    """The settings that name TLS files: of a backend, or of the listener."""

    @property
    def ca_file(self) -> Path | None:
        """The certificates of the authorities that may sign the other side's certificate."""

    @property
    def cert_file(self) -> Path | None:
        """The own certificate chain."""

    @property
    def key_file(self) -> Path | None:
        """The private key of `cert_file`."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The contents of TLS files. `None` means that the setting is absent."""

    ca: bytes | None
    cert: bytes | None
    key: bytes | None = field(repr=False)


def read_tls(key: str, tls: TlsSettings) -> TlsFiles:
    """Read TLS files and check them. Error messages begin with `key`, the key path of the table.

    The files are read until two readings are equal, because they may change in the meantime. Raises
    `CredentialsError`.
    """
    before = _read_tls(key, tls)
    for _ in range(_READ_ATTEMPTS):
        _check_tls(key, tls, before)
        after = _read_tls(key, tls)
        if after == before:
            return after
        before = after
    raise CredentialsError(
        f"{key}: wanted files that do not change while the proxy reads them, got a change at each "
        f"of {_READ_ATTEMPTS} attempts; replace all files at once"
    )


def read_tokens(key: str, file: Path) -> list[bytes]:
    """Return the client tokens in a file: one on each line; empty lines do not count.

    Error messages begin with `key`. Raises `CredentialsError`.
    """
    lines = [line.strip() for line in read(key, file).splitlines()]
    for number, line in enumerate(lines, start=1):
        if line and not _TOKEN.fullmatch(line):
            raise CredentialsError(
                f"{key}: wanted one token on each line of {file}, of 16 to 256 letters, digits and "
                f"'-', '.', '_' or '~', got another text in line {number} (not shown: it may be a "
                "secret); make a token with: openssl rand -hex 32"
            )
    tokens = [line for line in lines if line]
    if not 1 <= len(tokens) <= MAX_TOKENS:
        raise CredentialsError(
            f"{key}: wanted 1 to {MAX_TOKENS} tokens in {file}, got {len(tokens)}; make a token "
            "with: openssl rand -hex 32"
        )
    return tokens


def first_token(key: str, file: Path | None) -> str:
    """Return the first client token in a file; empty without a file. Raises `CredentialsError`."""
    return read_tokens(key, file)[0].decode("ascii") if file else ""


def read(key: str, file: Path) -> bytes:
    """Read a complete file. Raises `CredentialsError`, with a message that begins with `key`.

    Refuse anything that is not a regular file: reading from a pipe, for example, could block for
    ever.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise CredentialsError(f"{key}: cannot read {file}: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise CredentialsError(
            f"{key}: wanted a regular file, got {file}, which is a directory or a special file"
        )
    try:
        with open(descriptor, "rb") as opened:  # noqa: PTH123 - pathlib opens no descriptor
            content = opened.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise CredentialsError(f"{key}: cannot read {file}: {error.strerror}") from None
    if len(content) > MAX_FILE_BYTES:
        raise CredentialsError(f"{key}: wanted at most {MAX_FILE_BYTES} bytes in {file}, got more")
    return content


def exposure(key: str, file: Path | None) -> str:
    """Return a warning if all users of the machine can read a file, otherwise an empty text."""
    mode = _mode(file)
    if mode & stat.S_IROTH:
        return f"{key}: all users of this machine can read {file} (mode {mode:04o})"
    return ""


def describe(raw: bytes) -> str:
    """Describe the content of a file that holds no valid secret, without showing the content."""
    lines = raw.strip().splitlines()
    if not lines:
        return "no characters"
    if len(lines) > 1:
        return f"{len(lines)} lines"
    if re.search(rb"[^\x20-\x7e]", lines[0]):
        return "a character that is not printable ASCII"
    return f"{len(lines[0])} characters"


def _mode(file: Path | None) -> int:
    """Return the permissions of a file; 0 if there is no file."""
    try:
        return stat.S_IMODE(file.stat().st_mode) if file else 0
    except OSError:
        return 0


def _read_tls(key: str, tls: TlsSettings) -> TlsFiles:
    return TlsFiles(
        ca=read(f"{key}.ca_file", tls.ca_file) if tls.ca_file else None,
        cert=read(f"{key}.cert_file", tls.cert_file) if tls.cert_file else None,
        key=read(f"{key}.key_file", tls.key_file) if tls.key_file else None,
    )


def _check_tls(key: str, tls: TlsSettings, files: TlsFiles) -> None:
    """Refuse files that TLS would accept at first, but that make every handshake fail."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if files.ca is not None:
        try:
            context.load_verify_locations(cadata=files.ca.decode("ascii", "ignore"))
        except (ssl.SSLError, ValueError) as error:
            raise CredentialsError(
                f"{key}.ca_file: wanted PEM certificates, got {tls.ca_file}: {error}"
            ) from None
    if tls.cert_file and tls.key_file:
        try:
            context.load_cert_chain(tls.cert_file, tls.key_file, password=lambda: b"")
        except (ssl.SSLError, OSError) as error:
            raise CredentialsError(
                f"{key}.cert_file, {key}.key_file: wanted a PEM certificate chain and its "
                f"unencrypted private key, got {tls.cert_file} and {tls.key_file}: {error}"
            ) from None

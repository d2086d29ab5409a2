"""Read a backend's credentials from their files: certificates, an API key, a bearer token.

Secrets are in files only. The proxy reads each file completely and checks it before use, so it
refuses half-written files and a key that does not match its certificate.
"""

import importlib
import os
import re
import ssl
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from jicofo_reservation_proxy.errors import CredentialsError
from jicofo_reservation_proxy.settings.schema import Auth, Backend, Tls

MAX_SECRET_BYTES = 8 * 1024
"""gRPC servers refuse larger metadata by default (grpc.max_metadata_size)."""

MAX_FILE_BYTES = 1024 * 1024
"""Larger than a file with the certificates of all public authorities."""

Metadata = tuple[tuple[str, str], ...]

_PRINTABLE = re.compile(r"[\x20-\x7e]+")
_READ_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The contents of a backend's TLS files. `None` means that the setting is absent."""

    ca: bytes | None
    cert: bytes | None
    key: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Credentials:
    """All credentials for a backend. Two values are equal when their files have equal contents."""

    tls: TlsFiles | None
    metadata: Metadata = field(repr=False)


def load(key: str, backend: Backend) -> Credentials:
    """Read the credentials of a backend. Error messages begin with `key`, its key path.

    Raises `CredentialsError`. The message names the setting and the file, and never shows the
    content of the file.
    """
    tls = _load_tls(f"{key}.tls", backend.tls) if backend.tls is not None else None
    return Credentials(tls=tls, metadata=_load_metadata(f"{key}.auth", backend.auth))


def readable_by_others(key: str, backend: Backend) -> Iterator[str]:
    """Yield a warning for each file with a secret that all users of the machine can read."""
    tls, auth = backend.tls or Tls(), backend.auth
    files = {
        "tls.key_file": tls.key_file,
        "auth.api_key_file": auth.api_key_file,
        "auth.bearer_token_file": auth.bearer_token_file,
    }
    for name, file in files.items():
        mode = _mode(file)
        if mode & stat.S_IROTH:
            yield f"{key}.{name}: all users of this machine can read {file} (mode {mode:04o})"


def _mode(file: Path | None) -> int:
    """Return the permissions of a file; 0 if there is no file."""
    try:
        return stat.S_IMODE(file.stat().st_mode) if file else 0
    except OSError:
        return 0


def load_plugin(key: str, auth: Auth) -> grpc.AuthMetadataPlugin | None:
    """Import the operator's plugin, or return `None` when the setting is absent.

    Raises `CredentialsError` when the import fails or the object is not a plugin.
    """
    if auth.plugin is None:
        return None
    module_name, _, attribute = auth.plugin.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), attribute)
        plugin = found if isinstance(found, grpc.AuthMetadataPlugin) else found()
    except Exception as error:
        raise CredentialsError(f"{key}.plugin: cannot load {auth.plugin!r}: {error!r}") from error
    if not callable(plugin):
        raise CredentialsError(
            f"{key}.plugin: wanted a grpc.AuthMetadataPlugin, got an object of type "
            f"{type(plugin).__name__}"
        )
    return plugin


def _load_tls(key: str, tls: Tls) -> TlsFiles:
    """Read the files until two readings are equal, because the files may change while it reads."""
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


def _read_tls(key: str, tls: Tls) -> TlsFiles:
    return TlsFiles(
        ca=_read(f"{key}.ca_file", tls.ca_file) if tls.ca_file else None,
        cert=_read(f"{key}.cert_file", tls.cert_file) if tls.cert_file else None,
        key=_read(f"{key}.key_file", tls.key_file) if tls.key_file else None,
    )


def _check_tls(key: str, tls: Tls, files: TlsFiles) -> None:
    """Refuse files that gRPC would accept at first, but that make every handshake fail."""
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


def _load_metadata(key: str, auth: Auth) -> Metadata:
    metadata: Metadata = ()
    if auth.api_key_file:
        metadata += ((auth.header, _read_secret(f"{key}.api_key_file", auth.api_key_file)),)
    if auth.bearer_token_file:
        token = _read_secret(f"{key}.bearer_token_file", auth.bearer_token_file)
        metadata += (("authorization", f"Bearer {token}"),)
    return metadata


def _read_secret(key: str, file: Path) -> str:
    raw = _read(key, file)
    try:
        secret = raw.decode("ascii").strip()
    except UnicodeDecodeError:
        secret = ""
    if not _PRINTABLE.fullmatch(secret) or len(secret) > MAX_SECRET_BYTES:
        raise CredentialsError(
            f"{key}: wanted a single line of 1 to {MAX_SECRET_BYTES} printable ASCII characters "
            f"in {file}, got {_found(raw)}"
        )
    return secret


def _found(raw: bytes) -> str:
    """Describe the content of a file that holds no valid secret, without showing the content."""
    lines = raw.strip().splitlines()
    if not lines:
        return "no characters"
    if len(lines) > 1:
        return f"{len(lines)} lines"
    if re.search(rb"[^\x20-\x7e]", lines[0]):
        return "a character that is not printable ASCII"
    return f"{len(lines[0])} characters"


def _read(key: str, file: Path) -> bytes:
    """Read a complete file.

    Refuse anything that is not a regular file: reading from a pipe, for example, could block for
    ever.
    """
    # The operator may have written the secret itself in place of the path of its file. Such a
    # secret looks like a relative path, so the message does not show relative paths.
    name = (
        str(file)
        if file.is_absolute()
        else "the file (path not shown, because a relative path may be the secret itself)"
    )
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise CredentialsError(f"{key}: cannot read {name}: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise CredentialsError(
            f"{key}: wanted a regular file, got {name}, which is a directory or a special file"
        )
    with open(descriptor, "rb") as opened:  # noqa: PTH123 - pathlib opens no descriptor
        content = opened.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise CredentialsError(f"{key}: wanted at most {MAX_FILE_BYTES} bytes in {name}, got more")
    return content

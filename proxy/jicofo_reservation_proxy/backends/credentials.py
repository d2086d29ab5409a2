"""Files → what a backend is shown: certificates, an API key, a bearer token.

Secrets stand in files only. They are read whole and checked before they are used, so that a
half-written or mismatched set is refused rather than tried.
"""

import importlib
import os
import re
import ssl
import stat
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from jicofo_reservation_proxy.errors import CredentialsError
from jicofo_reservation_proxy.settings.schema import Auth, Backend, Tls

MAX_SECRET_BYTES = 8 * 1024
"""gRPC servers refuse more metadata than that by default (grpc.max_metadata_size)."""

MAX_FILE_BYTES = 1024 * 1024
"""More than all public certificate authorities together."""

Metadata = tuple[tuple[str, str], ...]

_PRINTABLE = re.compile(r"[\x20-\x7e]+")
_READ_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The contents of a backend's TLS files; `None` where the setting is absent."""

    ca: bytes | None
    cert: bytes | None
    key: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Credentials:
    """All that a backend is shown. Two are equal when nothing has changed in the files."""

    tls: TlsFiles | None
    metadata: Metadata = field(repr=False)


def load(key: str, backend: Backend) -> Credentials:
    """Read the credentials of a backend; `key` is the key path of its settings, for errors.

    Raises `CredentialsError`, naming the setting and the file, never what is in it.
    """
    tls = _load_tls(f"{key}.tls", backend.tls) if backend.tls is not None else None
    return Credentials(tls=tls, metadata=_load_metadata(f"{key}.auth", backend.auth))


def load_plugin(key: str, auth: Auth) -> grpc.AuthMetadataPlugin | None:
    """Import the operator's plugin, or return `None` where none is set.

    Raises `CredentialsError` where it cannot be imported or is no plugin.
    """
    if auth.plugin is None:
        return None
    module_name, _, attribute = auth.plugin.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), attribute)
        plugin = found if isinstance(found, grpc.AuthMetadataPlugin) else found()
    except Exception as error:
        raise CredentialsError(f"{key}.plugin: {auth.plugin!r} failed: {error!r}") from error
    if not callable(plugin):
        raise CredentialsError(
            f"{key}.plugin: wanted a grpc.AuthMetadataPlugin, got {type(plugin).__name__}"
        )
    return plugin


def _load_tls(key: str, tls: Tls) -> TlsFiles:
    """Read the files until two readings agree: they may be changing under our hands."""
    before = _read_tls(key, tls)
    for _ in range(_READ_ATTEMPTS):
        _check_tls(key, tls, before)
        after = _read_tls(key, tls)
        if after == before:
            return after
        before = after
    raise CredentialsError(f"{key}: the files keep changing while they are read")


def _read_tls(key: str, tls: Tls) -> TlsFiles:
    return TlsFiles(
        ca=_read(f"{key}.ca_file", tls.ca_file) if tls.ca_file else None,
        cert=_read(f"{key}.cert_file", tls.cert_file) if tls.cert_file else None,
        key=_read(f"{key}.key_file", tls.key_file) if tls.key_file else None,
    )


def _check_tls(key: str, tls: Tls, files: TlsFiles) -> None:
    """Refuse what gRPC would accept in silence and then fail every handshake with."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if files.ca is not None:
        try:
            context.load_verify_locations(cadata=files.ca.decode("ascii", "ignore"))
        except (ssl.SSLError, ValueError) as error:
            raise CredentialsError(
                f"{key}.ca_file: wanted certificates (PEM), got {tls.ca_file}: {error}"
            ) from None
    if tls.cert_file and tls.key_file:
        try:
            context.load_cert_chain(tls.cert_file, tls.key_file, password=lambda: b"")
        except (ssl.SSLError, OSError) as error:
            raise CredentialsError(
                f"{key}.cert_file, {key}.key_file: wanted a certificate chain and its unencrypted "
                f"key (PEM), got {tls.cert_file} and {tls.key_file}: {error}"
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
            f"{key}: wanted one line of 1 to {MAX_SECRET_BYTES} printable ASCII characters in "
            f"{file}, got {len(raw)} bytes that are not"
        )
    return secret


def _read(key: str, file: Path) -> bytes:
    """Read a file whole. What is no file, such as a pipe, could make us wait for ever."""
    # A path that is not absolute may be the secret itself, in the place of its file.
    name = str(file) if file.is_absolute() else "the file that it names"
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise CredentialsError(f"{key}: cannot read {name}: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise CredentialsError(f"{key}: wanted a file, got {name}, which is something else")
    with open(descriptor, "rb") as opened:  # noqa: PTH123 - pathlib opens no descriptor
        content = opened.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise CredentialsError(f"{key}: wanted at most {MAX_FILE_BYTES} bytes in {name}, got more")
    return content

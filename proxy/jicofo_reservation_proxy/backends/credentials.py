"""The credentials of a backend that are in files: certificates, an API key, a token, a password."""

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from jicofo_reservation_proxy import credential_files
from jicofo_reservation_proxy.credential_files import TlsFiles
from jicofo_reservation_proxy.errors import CredentialsError
from jicofo_reservation_proxy.settings.schema import Auth, Backend, Tls

MAX_SECRET_BYTES = 8 * 1024
"""gRPC servers refuse larger metadata by default (grpc.max_metadata_size)."""

Metadata = tuple[tuple[str, str], ...]

_PRINTABLE = re.compile(r"[\x20-\x7e]+")


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
    tls = credential_files.read_tls(f"{key}.tls", backend.tls) if backend.tls else None
    return Credentials(tls=tls, metadata=_load_metadata(f"{key}.auth", backend.auth))


def readable_by_others(key: str, backend: Backend) -> Iterator[str]:
    """Yield a warning for each file with a secret that all users of the machine can read."""
    tls, auth = backend.tls or Tls(), backend.auth
    files = {
        "tls.key_file": tls.key_file,
        "auth.api_key_file": auth.api_key_file,
        "auth.bearer_token_file": auth.bearer_token_file,
        "auth.password_file": auth.password_file,
    }
    for name, file in files.items():
        if warning := credential_files.exposure(f"{key}.{name}", file):
            yield warning


def _load_metadata(key: str, auth: Auth) -> Metadata:
    metadata: Metadata = ()
    if auth.api_key_file:
        metadata += ((auth.header, _read_secret(f"{key}.api_key_file", auth.api_key_file)),)
    if auth.bearer_token_file:
        token = _read_secret(f"{key}.bearer_token_file", auth.bearer_token_file)
        metadata += (("authorization", f"Bearer {token}"),)
    if auth.username is not None and auth.password_file:
        password = _read_secret(f"{key}.password_file", auth.password_file)
        basic = base64.b64encode(f"{auth.username}:{password}".encode()).decode("ascii")
        metadata += (("authorization", f"Basic {basic}"),)
    return metadata


def _read_secret(key: str, file: Path) -> str:
    raw = credential_files.read(key, file)
    try:
        secret = raw.decode("ascii").strip()
    except UnicodeDecodeError:
        secret = ""
    if not _PRINTABLE.fullmatch(secret) or len(secret) > MAX_SECRET_BYTES:
        raise CredentialsError(
            f"{key}: wanted a single line of 1 to {MAX_SECRET_BYTES} printable ASCII characters "
            f"in {file}, got {credential_files.describe(raw)}"
        )
    return secret

"""The end of the validity of certificates, read from their PEM files.

Python's `ssl` does not show the dates of a certificate that was loaded from a file, and the proxy
needs no other part of it. So this module reads just the structure around the dates (RFC 5280,
section 4.1; DER is in X.690).
"""

import base64
import binascii
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

_PEM = re.compile(
    rb"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----\s(.*?)-----END ",
    re.DOTALL,
)

_SEQUENCE, _VERSION, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0xA0, 0x17, 0x18


@dataclass(frozen=True, slots=True)
class CertificateEnd:
    """When the certificates in a file end, in milliseconds since the epoch.

    `key` is the setting that names the file, such as `backends.default.tls.cert_file`.
    """

    key: str
    ends_at_ms: int


def end_of_chain(key: str, pem: bytes | None) -> Iterator[CertificateEnd]:
    """Yield when an own certificate chain ends: all of its certificates must be valid."""
    if ends := ends_of(pem or b""):
        yield CertificateEnd(key, min(ends))


def end_of_authorities(key: str, pem: bytes | None, now_ms: int) -> Iterator[CertificateEnd]:
    """Yield when the first of the authorities in a file ends.

    An authority that has ended already does no harm if another one is still valid: a file often has
    the old and the new one. So it counts only if no authority is valid.
    """
    if ends := ends_of(pem or b""):
        yield CertificateEnd(key, min((end for end in ends if end > now_ms), default=max(ends)))


@lru_cache(maxsize=64)
def ends_of(pem: bytes) -> Sequence[int]:
    """Return when each certificate in a PEM file ends, in milliseconds since the epoch.

    A certificate that cannot be read is left out: TLS has read it too, so it is only unusual.
    """
    return tuple(_ends_of(pem))


def _ends_of(pem: bytes) -> Iterator[int]:
    for match in _PEM.finditer(pem):
        try:
            yield not_after_ms(base64.b64decode(match[1]))
        except (ValueError, IndexError, binascii.Error):
            continue


def not_after_ms(der: bytes) -> int:
    """Return the end of the validity of a certificate. Raises `ValueError` or `IndexError`."""
    certificate = _contents(der, _SEQUENCE)
    fields = list(_elements(_contents(certificate, _SEQUENCE)))
    if fields[0][0] == _VERSION:  # absent in a certificate of version 1
        del fields[0]
    # Before the validity stand the serial number, the signature algorithm and the issuer.
    tag, validity = fields[3]
    times = list(_elements(validity))
    if tag != _SEQUENCE or len(times) != 2:
        raise ValueError("wanted the validity of a certificate, got something else")
    return _time_ms(*times[1])


def _time_ms(tag: int, value: bytes) -> int:
    """Return a Time of RFC 5280: a two-digit year from 50 on is in the last century."""
    text = value.decode("ascii")
    if tag == _UTC_TIME:
        text = ("19" if int(text[:2]) >= 50 else "20") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError(f"wanted a time, got the tag {tag}")
    return int(datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp() * 1000)


def _contents(der: bytes, wanted: int) -> bytes:
    """Return the contents of the first element, which must have this tag."""
    tag, value = next(_elements(der), (0, b""))
    if tag != wanted:
        raise ValueError(f"wanted the tag {wanted}, got {tag}")
    return value


def _elements(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the tags and the contents of the elements in a text of DER."""
    at = 0
    while at < len(der):
        tag, length, at = der[at], der[at + 1], at + 2
        if length & 0x80:
            size = length & 0x7F
            length, at = int.from_bytes(der[at : at + size], "big"), at + size
        if at + length > len(der):
            raise ValueError("wanted a whole element, got a part of one")
        yield tag, der[at : at + length]
        at += length

"""When certificates end, compared with what `cryptography` reads."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import NameOID
from jicofo_reservation_proxy.certificates import (
    CertificateEnd,
    _time_ms,
    end_of_authorities,
    end_of_chain,
    ends_of,
    not_after_ms,
)

NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "proxy.example.com")])
START = datetime(1999, 1, 1, tzinfo=UTC)
KEYS: dict[str, Callable[[], CertificateIssuerPrivateKeyTypes]] = {
    "ec": lambda: ec.generate_private_key(ec.SECP256R1()),
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
}


def certificate(end: datetime, kind: str = "ec", names: int = 1) -> x509.Certificate:
    """Return a certificate that ends at this time."""
    key = KEYS[kind]()
    builder = (
        x509.CertificateBuilder(NAME, NAME, key.public_key(), x509.random_serial_number())
        .not_valid_before(START)
        .not_valid_after(end)
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.DNSName(f"{number}.example.com") for number in range(names)]
            ),
            critical=False,
        )
    )
    return builder.sign(key, None if kind == "ed25519" else hashes.SHA256())


def pem(*ends: datetime) -> bytes:
    """Return a file of certificates that end at these times."""
    made = [certificate(end).public_bytes(serialization.Encoding.PEM) for end in ends]
    return b"a comment\n" + b"\n".join(made)


def ms(moment: datetime) -> int:
    """Return a time in milliseconds since the epoch."""
    return int(moment.timestamp()) * 1000


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("year", [2000, 2038, 2049, 2050, 2149, 9999])
def test_the_end_is_as_cryptography_reads_it(kind: str, year: int) -> None:
    """From 2050 on, certificates have their dates in another form."""
    made = certificate(datetime(year, 12, 31, 23, 59, 59, tzinfo=UTC), kind, names=200)
    der = made.public_bytes(serialization.Encoding.DER)
    assert not_after_ms(der) == ms(made.not_valid_after_utc)


def test_every_part_of_a_certificate_is_refused() -> None:
    """A certificate that was cut anywhere raises one of two errors, and returns no date."""
    der = certificate(datetime(2040, 1, 1, tzinfo=UTC)).public_bytes(serialization.Encoding.DER)
    for length in range(len(der)):
        with pytest.raises((ValueError, IndexError)):
            not_after_ms(der[:length])


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"no PEM",
        b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\n\n-----END CERTIFICATE-----\n",
    ],
)
def test_what_is_no_certificate_has_no_end(text: bytes) -> None:
    """A file that cannot be read says nothing; it raises nothing either."""
    assert ends_of(text) == ()


def test_a_chain_ends_with_its_first_certificate() -> None:
    """All certificates of a chain must be valid."""
    early, late = datetime(2030, 1, 1, tzinfo=UTC), datetime(2040, 1, 1, tzinfo=UTC)
    assert list(end_of_chain("tls.cert_file", pem(late, early))) == [
        CertificateEnd("tls.cert_file", ms(early))
    ]
    assert not list(end_of_chain("tls.cert_file", None))


def test_an_old_authority_does_not_matter() -> None:
    """An authority that has ended counts only if no other one is valid."""
    now = datetime(2030, 1, 1, tzinfo=UTC)
    old, soon, late = (now + timedelta(days=days) for days in (-5, 5, 500))

    def end(*ends: datetime) -> int:
        (found,) = end_of_authorities("tls.ca_file", pem(*ends), ms(now))
        return found.ends_at_ms

    assert end(old, soon, late) == ms(soon)
    assert end(old - timedelta(days=1), old) == ms(old)


def test_a_short_year_from_50_on_is_in_the_last_century() -> None:
    """A time with two digits for the year means 1950 to 2049 (RFC 5280)."""
    assert _time_ms(0x17, b"500101000000Z") == ms(datetime(1950, 1, 1, tzinfo=UTC))
    assert _time_ms(0x17, b"491231235959Z") == ms(datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC))

"""TLS and mTLS to a backend, with real handshakes that must succeed or must fail."""

from pathlib import Path

import grpc
import pytest

from .support import granting, running, serving_grpc
from .tls import SERVER_NAME, Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Return the authority that the proxy trusts."""
    return Authority(tmp_path / "authority")


def _create_status(
    state_dir: Path, credentials: grpc.ServerCredentials | None, **tls: object
) -> int:
    """Return the status of one POST through a proxy with these TLS settings."""
    with serving_grpc(granting(), credentials) as target:
        settings = {"default": {"target": target, "answer_within": "5s", "tls": tls}}
        with running(state_dir, backends=settings) as client:
            return client.create().status


def _trusting(authority: Authority, **more: str) -> dict[str, str]:
    return {"ca_file": str(authority.ca_file), "server_name": SERVER_NAME, **more}


def test_tls_with_the_right_authority_and_name_works(tmp_path: Path, authority: Authority) -> None:
    """The proxy accepts a certificate for `server_name` from the authority in `ca_file`."""
    assert _create_status(tmp_path, authority.server(), **_trusting(authority)) == 200


def test_tls_by_the_targets_own_name_works(tmp_path: Path, authority: Authority) -> None:
    """Without `server_name` the proxy accepts a certificate for the name in the target."""
    certificate = authority.server("127.0.0.1")
    assert _create_status(tmp_path, certificate, ca_file=str(authority.ca_file)) == 200


def test_tls_with_a_wrong_name_is_refused(tmp_path: Path, authority: Authority) -> None:
    """The proxy refuses a certificate for another name."""
    certificate = authority.server("other.example.com")
    assert _create_status(tmp_path, certificate, **_trusting(authority)) == 503


def test_tls_of_a_wrong_authority_is_refused(tmp_path: Path, authority: Authority) -> None:
    """The proxy refuses a certificate for the right name from an unknown authority."""
    stranger = Authority(tmp_path / "stranger")
    assert _create_status(tmp_path, stranger.server(), **_trusting(authority)) == 503


def test_tls_with_an_expired_certificate_is_refused(tmp_path: Path, authority: Authority) -> None:
    """The proxy refuses an expired certificate."""
    certificate = authority.server(expired=True)
    assert _create_status(tmp_path, certificate, **_trusting(authority)) == 503


def test_without_a_ca_file_a_private_authority_is_refused(
    tmp_path: Path, authority: Authority
) -> None:
    """With an empty `tls` table the proxy trusts only the public authorities."""
    assert _create_status(tmp_path, authority.server("127.0.0.1")) == 503


def test_plaintext_to_a_tls_server_is_refused(tmp_path: Path, authority: Authority) -> None:
    """A plaintext call to a TLS server fails, and the proxy answers 503."""
    with (
        serving_grpc(granting(), authority.server()) as target,
        running(tmp_path, backends={"default": {"target": target}}) as client,
    ):
        assert client.create().status == 503


def test_tls_to_a_plaintext_server_is_refused(tmp_path: Path, authority: Authority) -> None:
    """With `tls` the proxy sends no plaintext call, and answers 503."""
    assert _create_status(tmp_path, None, **_trusting(authority)) == 503


def test_mtls_with_a_client_certificate_works(tmp_path: Path, authority: Authority) -> None:
    """A backend with mTLS accepts a client certificate from its authority."""
    server = authority.server(client_authority=authority)
    tls = _trusting(authority, **authority.client_files())
    assert _create_status(tmp_path, server, **tls) == 200


def test_mtls_without_a_client_certificate_is_refused(tmp_path: Path, authority: Authority) -> None:
    """A backend with mTLS refuses a proxy without a client certificate."""
    server = authority.server(client_authority=authority)
    assert _create_status(tmp_path, server, **_trusting(authority)) == 503


def test_mtls_with_a_certificate_of_a_wrong_authority_is_refused(
    tmp_path: Path, authority: Authority
) -> None:
    """A backend with mTLS refuses a client certificate from another authority."""
    stranger = Authority(tmp_path / "stranger")
    server = authority.server(client_authority=authority)
    tls = _trusting(authority, **stranger.client_files())
    assert _create_status(tmp_path, server, **tls) == 503

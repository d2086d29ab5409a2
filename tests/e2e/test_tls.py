"""TLS and mTLS towards a backend: real handshakes, each success with what must fail beside it."""

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
    """The target is an address; `server_name` says whose certificate to expect there."""
    assert _create_status(tmp_path, authority.server(), **_trusting(authority)) == 200


def test_tls_by_the_targets_own_name_works(tmp_path: Path, authority: Authority) -> None:
    """Without `server_name` the certificate must be the target's."""
    certificate = authority.server("127.0.0.1")
    assert _create_status(tmp_path, certificate, ca_file=str(authority.ca_file)) == 200


def test_tls_with_a_wrong_name_is_refused(tmp_path: Path, authority: Authority) -> None:
    """A certificate of another name is no certificate."""
    certificate = authority.server("other.example.com")
    assert _create_status(tmp_path, certificate, **_trusting(authority)) == 503


def test_tls_of_a_wrong_authority_is_refused(tmp_path: Path, authority: Authority) -> None:
    """The right name by an unknown authority is refused."""
    stranger = Authority(tmp_path / "stranger")
    assert _create_status(tmp_path, stranger.server(), **_trusting(authority)) == 503


def test_tls_with_an_expired_certificate_is_refused(tmp_path: Path, authority: Authority) -> None:
    """A certificate's time matters."""
    certificate = authority.server(expired=True)
    assert _create_status(tmp_path, certificate, **_trusting(authority)) == 503


def test_tls_by_public_authorities_refuses_a_private_one(
    tmp_path: Path, authority: Authority
) -> None:
    """An empty `tls` table trusts the public authorities, and nobody else."""
    assert _create_status(tmp_path, authority.server("127.0.0.1")) == 503


def test_plaintext_to_a_tls_server_is_refused(tmp_path: Path, authority: Authority) -> None:
    """Neither side takes the other's bytes for its own."""
    with (
        serving_grpc(granting(), authority.server()) as target,
        running(tmp_path, backends={"default": {"target": target}}) as client,
    ):
        assert client.create().status == 503


def test_tls_to_a_plaintext_server_is_refused(tmp_path: Path, authority: Authority) -> None:
    """There is no falling back to plaintext."""
    assert _create_status(tmp_path, None, **_trusting(authority)) == 503


def test_mtls_with_a_client_certificate_works(tmp_path: Path, authority: Authority) -> None:
    """The backend lets in who has a certificate of its authority."""
    server = authority.server(client_authority=authority)
    tls = _trusting(authority, **authority.client_files())
    assert _create_status(tmp_path, server, **tls) == 200


def test_mtls_without_a_client_certificate_is_refused(tmp_path: Path, authority: Authority) -> None:
    """Nobody gets in without one."""
    server = authority.server(client_authority=authority)
    assert _create_status(tmp_path, server, **_trusting(authority)) == 503


def test_mtls_with_a_certificate_of_a_wrong_authority_is_refused(
    tmp_path: Path, authority: Authority
) -> None:
    """Nor with one that somebody else signed."""
    stranger = Authority(tmp_path / "stranger")
    server = authority.server(client_authority=authority)
    tls = _trusting(authority, **stranger.client_files())
    assert _create_status(tmp_path, server, **tls) == 503

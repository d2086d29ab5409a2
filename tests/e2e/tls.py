"""Certificates for the tests: authorities, servers and clients. trustme makes all of them."""

import ssl
from datetime import UTC, datetime
from pathlib import Path

import grpc
import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

SERVER_NAME = "reservations.example.com"


class Authority:
    """A certificate authority, which writes its certificates to one directory."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._ca = trustme.CA()
        self._directory = directory
        self.ca_file = directory / "ca.pem"
        self._ca.cert_pem.write_to_path(self.ca_file)

    def server(
        self,
        name: str = SERVER_NAME,
        *,
        expired: bool = False,
        client_authority: "Authority | None" = None,
    ) -> grpc.ServerCredentials:
        """Return the credentials of a server with this name; `client_authority` turns on mTLS."""
        past = datetime(2020, 1, 1, tzinfo=UTC)
        issued = self._ca.issue_cert(name, not_after=past if expired else None)
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        return grpc.ssl_server_credentials(
            [(issued.private_key_pem.bytes(), chain)],
            root_certificates=client_authority.ca_file.read_bytes() if client_authority else None,
            require_client_auth=client_authority is not None,
        )

    def server_context(
        self,
        *names: str,
        expired: bool = False,
        client_authority: "Authority | None" = None,
    ) -> ssl.SSLContext:
        """Return the TLS context of an HTTP server; `client_authority` turns on mTLS."""
        past = datetime(2020, 1, 1, tzinfo=UTC)
        issued = self._ca.issue_cert(
            *(names or (SERVER_NAME,)), not_after=past if expired else None
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        issued.configure_cert(context)
        if client_authority:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(client_authority.ca_file)
        return context

    def server_files(self, name: str = SERVER_NAME) -> tuple[Path, Path]:
        """Issue a server's certificate; return the files of its chain and of its key.

        The key is in PKCS #8, which servers in Java require. trustme itself writes another form.
        """
        issued = self._ca.issue_cert(name)
        cert_file, key_file = self._directory / "server.pem", self._directory / "server.key"
        cert_file.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        key = load_pem_private_key(issued.private_key_pem.bytes(), password=None)
        key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return cert_file, key_file

    def client_files(self, directory: Path | None = None) -> dict[str, str]:
        """Issue a client's certificate; return the settings that name its files."""
        directory = directory or self._directory
        directory.mkdir(parents=True, exist_ok=True)
        issued = self._ca.issue_cert("proxy.example.com")
        cert_file, key_file = directory / "client.pem", directory / "client.key"
        cert_file.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        key_file.write_bytes(issued.private_key_pem.bytes())
        return {"cert_file": str(cert_file), "key_file": str(key_file)}

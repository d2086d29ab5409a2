"""Each stub backend keeps the contract. It is built from its folder and runs as a real process."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from jicofo_reservation_proxy.commands import main as cli
from jicofo_reservation_proxy.conformance.kit import DENIED_ROOM

from tests.e2e.support import running
from tests.e2e.tls import SERVER_NAME, Authority

from .stubs import ROOT, STUBS, Stub, run, serving

pytestmark = pytest.mark.timeout(600)
"""The first build on a machine downloads and compiles gRPC."""


@dataclass(frozen=True)
class Served:
    """A running stub with mTLS and an API key, and the kit's flags to connect to it."""

    address: str
    tls: dict[str, str]
    key_file: Path

    @property
    def flags(self) -> list[str]:
        """The flags of `jicofo-reservation-proxy conformance`."""
        tls = [f"--tls-{name.replace('_', '-')}={value}" for name, value in self.tls.items()]
        return [*tls, f"--auth-api-key-file={self.key_file}"]


@contextmanager
def serving_mtls(stub: Stub, directory: Path) -> Iterator[Served]:
    """Run a stub with mTLS and an API key; it denies the room `DENIED_ROOM`."""
    authority = Authority(directory)
    cert_file, server_key = authority.server_files()
    key_file = directory / "api-key"
    key_file.write_text("s3cret\n")
    tls = {"ca_file": str(authority.ca_file), "server_name": SERVER_NAME}
    flags = {
        "--tls-cert": cert_file,
        "--tls-key": server_key,
        "--client-ca": authority.ca_file,
        "--api-key-file": key_file,
        "--deny": DENIED_ROOM,
    }
    with serving(stub, *(f"{name}={value}" for name, value in flags.items())) as address:
        yield Served(address, tls | authority.client_files(), key_file)


def test_the_stub_passes_the_kit_and_its_readme_has_the_table(
    stub: Stub, capsys: pytest.CaptureFixture[str]
) -> None:
    """The stub passes the kit, and its README shows the table of `make conformance-...`."""
    with serving(stub, "--deny", DENIED_ROOM) as address:
        code = cli.main(["conformance", address])
    table = capsys.readouterr().out
    assert code == 0, table
    shown = re.search(
        r"## Conformance\n.*?```text\n(.*?)```", stub.readme.read_text("utf-8"), re.DOTALL
    )
    assert shown
    assert shown[1] == table


def test_the_stub_passes_the_kit_over_mtls_with_a_key(
    stub: Stub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The stub passes every case of the kit if it requires mTLS and an API key."""
    with serving_mtls(stub, tmp_path) as served:
        code = cli.main(["conformance", served.address, *served.flags])
    assert code == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    ("left_out", "code"),
    [("--auth-api-key-file", 4), ("--tls-cert-file", 7), ("--tls-ca-file", 7)],
)
def test_a_call_without_a_credential_is_refused(
    stub: Stub,
    left_out: str,
    code: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The kit fails without the API key, without the client certificate, and without the CA."""
    also = {"--tls-cert-file": "--tls-key-file"}.get(left_out, left_out)
    with serving_mtls(stub, tmp_path) as served:
        flags = [flag for flag in served.flags if not flag.startswith((left_out, also))]
        assert cli.main(["conformance", served.address, "--only", "get", *flags]) == code
    assert "s3cret" not in capsys.readouterr().err


@pytest.mark.parametrize("client", ["jicofo", "prosody"])
def test_200_rooms_through_the_proxy_over_mtls(
    stub: Stub, client: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every simulated user gets an open room without an error, and every room is closed again."""
    with serving_mtls(stub, tmp_path) as served:
        backend = {
            "target": served.address,
            "tls": served.tls,
            "auth": {"api_key_file": str(served.key_file)},
        }
        with running(tmp_path / "state", threads=64, backends={"default": backend}) as proxy:
            listen = f"127.0.0.1:{proxy.port}"
            chosen = ["--as", client, "--rooms", "200", "--lifetime", "100ms", "--listen", listen]
            code = cli.main(["simulate", *chosen, "--json", "-"])
    report = json.loads(capsys.readouterr().out)
    assert {name: report[name] for name in ("opened", "closed", "seen", "wrong")} == {
        "opened": 200,
        "closed": 200,
        "seen": [],
        "wrong": [],
    }
    assert code == 0


@pytest.mark.parametrize("stub", [stub for stub in STUBS if stub.checks], indirect=True, ids=str)
def test_the_stubs_own_tests_pass(stub: Stub) -> None:
    """The Go and Java stubs pass the tests in their folders; tests/stub tests the Python stub."""
    for command in stub.checks:
        run(command)


def test_every_stub_folder_is_in_the_list() -> None:
    """`STUBS` has an entry for each folder of backend_stub that has a README.

    The kit speaks gRPC only, so it cannot check the HTTP backend (tests/stub_http does).
    """
    folders = {readme.parent.name for readme in (ROOT / "backend_stub").glob("*/README.md")}
    assert folders == {stub.name for stub in STUBS} | {"http"}

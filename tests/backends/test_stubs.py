"""The stub backends keep the contract, each as a real process built from its own folder."""

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
"""A build fetches and compiles gRPC when it is the first one on a machine."""


@dataclass(frozen=True)
class Served:
    """A stub that runs with mTLS and an API key, and the flags of the kit that open it."""

    address: str
    tls: dict[str, str]
    key_file: Path

    @property
    def flags(self) -> list[str]:
        """The flags of `conformance`."""
        tls = [f"--tls-{name.replace('_', '-')}={value}" for name, value in self.tls.items()]
        return [*tls, f"--auth-api-key-file={self.key_file}"]


@contextmanager
def serving_mtls(stub: Stub, directory: Path) -> Iterator[Served]:
    """Run a stub with everything on that it has for security."""
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


def test_the_kit_passes_and_its_table_is_in_the_readme(
    stub: Stub, capsys: pytest.CaptureFixture[str]
) -> None:
    """What `make conformance-...` prints is what the page of the stub shows."""
    with serving(stub, "--deny", DENIED_ROOM) as address:
        code = cli.main(["conformance", address])
    table = capsys.readouterr().out
    assert code == 0, table
    shown = re.search(
        r"## Conformance\n.*?```text\n(.*?)```", stub.readme.read_text("utf-8"), re.DOTALL
    )
    assert shown
    assert shown[1] == table


def test_the_kit_passes_over_mtls_with_a_key(
    stub: Stub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All that protects a backend does not get in the kit's way, nor the kit in the backend's."""
    with serving_mtls(stub, tmp_path) as served:
        code = cli.main(["conformance", served.address, *served.flags])
    assert code == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    ("left_out", "code"),
    [("--auth-api-key-file", 4), ("--tls-cert-file", 7), ("--tls-ca-file", 7)],
)
def test_who_lacks_a_credential_stays_outside(
    stub: Stub,
    left_out: str,
    code: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """No key, no certificate, or no trust in the server's: no call gets through."""
    also = {"--tls-cert-file": "--tls-key-file"}.get(left_out, left_out)
    with serving_mtls(stub, tmp_path) as served:
        flags = [flag for flag in served.flags if not flag.startswith((left_out, also))]
        assert cli.main(["conformance", served.address, "--only", "get", *flags]) == code
    assert "s3cret" not in capsys.readouterr().err


@pytest.mark.parametrize("client", ["jicofo", "prosody"])
def test_200_rooms_through_the_proxy_over_mtls(
    stub: Stub, client: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No user of either client sees anything but an open room, and every room is closed."""
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
def test_their_own_tests_pass(stub: Stub) -> None:
    """Each in its own language's way; those of the Python stub are in tests/stub."""
    for command in stub.checks:
        run(command)


def test_every_folder_is_a_stub_here() -> None:
    """None is forgotten."""
    folders = {readme.parent.name for readme in (ROOT / "backend_stub").glob("*/README.md")}
    assert folders == {stub.name for stub in STUBS}

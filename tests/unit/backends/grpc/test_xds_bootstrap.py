"""Which bootstrap files gRPC can use, and what the error says of the others."""

import os
from pathlib import Path

import pytest
from jicofo_reservation_proxy.backends.grpc.xds_bootstrap import check_bootstrap
from jicofo_reservation_proxy.errors import SettingsError

GOOD = '{"xds_servers": [{"server_uri": "192.0.2.1:443"}]}'
KEY = "backends.a.target"


def fault(environ: dict[str, str]) -> str:
    """Return the fault that the check finds in this environment."""
    with pytest.raises(SettingsError) as caught:
        check_bootstrap(KEY, "xds:///x", environ)
    return str(caught.value)


def test_a_usable_file_and_a_usable_text(tmp_path: Path) -> None:
    """The content may be in a file or in a variable; the file precedes the text."""
    file = tmp_path / "bootstrap.json"
    file.write_text(GOOD)
    check_bootstrap(KEY, "xds:///x", {"GRPC_XDS_BOOTSTRAP": str(file)})
    check_bootstrap(KEY, "xds:///x", {"GRPC_XDS_BOOTSTRAP_CONFIG": GOOD})
    both = {"GRPC_XDS_BOOTSTRAP": str(file), "GRPC_XDS_BOOTSTRAP_CONFIG": "nonsense"}
    check_bootstrap(KEY, "xds:///x", both)


def test_no_bootstrap_at_all() -> None:
    """The fault names both variables, the key and the target."""
    assert fault({}) == (
        "backends.a.target: wanted a bootstrap file with the address of the control plane, because "
        "the target is 'xds:///x', got neither $GRPC_XDS_BOOTSTRAP nor $GRPC_XDS_BOOTSTRAP_CONFIG; "
        "write the file, and name it in $GRPC_XDS_BOOTSTRAP"
    )


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """The fault names the file, and what the system says."""
    missing = tmp_path / "missing.json"
    found = fault({"GRPC_XDS_BOOTSTRAP": str(missing), "GRPC_XDS_BOOTSTRAP_CONFIG": GOOD})
    assert f"got {missing} from $GRPC_XDS_BOOTSTRAP, which cannot be read: No such file" in found
    assert "which is not a regular file" in fault({"GRPC_XDS_BOOTSTRAP": str(tmp_path)})
    assert "which is not a regular file" in fault({"GRPC_XDS_BOOTSTRAP": ""})


def test_a_pipe_does_not_block_the_start(tmp_path: Path) -> None:
    """Reading a pipe without a writer would wait for ever."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert "which is not a regular file" in fault({"GRPC_XDS_BOOTSTRAP": str(pipe)})


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "which is not JSON"),
        (b"{", "which is not JSON"),
        (b"[" * 100_000, "which is not JSON"),
        (b"\xff", "which is not UTF-8"),
        (b"[]", "which has no array xds_servers with a server"),
        (b"{}", "which has no array xds_servers with a server"),
        (b'{"xds_servers": []}', "which has no array xds_servers with a server"),
        (b'{"xds_servers": {"a": 1}}', "which has no array xds_servers with a server"),
    ],
)
def test_contents_that_are_not_usable(tmp_path: Path, content: bytes, problem: str) -> None:
    """The fault says what is wrong with the content."""
    file = tmp_path / "bootstrap.json"
    file.write_bytes(content)
    assert problem in fault({"GRPC_XDS_BOOTSTRAP": str(file)})

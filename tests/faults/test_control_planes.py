"""What a control plane may decide: TLS, and which names its routes match; and its faults."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from jicofo_reservation_proxy.commands import exit_codes

from tests.e2e.support import Client, Script, granting, serving_grpc
from tests.e2e.test_credentials import Plugin
from tests.e2e.tls import Authority

from .control_plane import ControlPlane
from .naming import CLUSTER, NAME
from .processes import ROOT, Stage, until
from .resources import cluster, endpoints, listener, route

OTHER_NAME = "other.example.com"


@dataclass(frozen=True)
class Authorities:
    """The authority that the bootstrap file names, and the one in the proxy's settings."""

    bootstrap: Authority
    settings: Authority


@pytest.fixture
def authorities(tmp_path: Path) -> Authorities:
    """Return two authorities that do not trust each other."""
    return Authorities(Authority(tmp_path / "bootstrap"), Authority(tmp_path / "settings"))


@contextmanager
def _asked(
    directory: Path,
    authorities: Authorities,
    servers: grpc.ServerCredentials | None,
    *,
    certificate_name: str | None,
    domain: str = "*",
    **own: object,
) -> Iterator[tuple[Client, Script]]:
    """Yield a client of a proxy, and its backend.

    The cluster wants TLS with `certificate_name`, or no TLS; `own` has settings of the backend.
    """
    script = granting()
    with (
        serving_grpc(script, servers) as address,
        ControlPlane(directory, authorities.bootstrap.ca_file) as control_plane,
        Stage(directory) as stage,
    ):
        control_plane.publish(
            listener(NAME, route({CLUSTER: 1}), domain=domain),
            cluster(CLUSTER, certificate_name),
            endpoints(CLUSTER, [address]),
        )
        default = {"target": f"xds:///{NAME}", "answer_within": "5s", **own}
        proxy = stage.proxy(default=default)
        proxy.environ["GRPC_XDS_BOOTSTRAP"] = str(control_plane.bootstrap_file)
        proxy.start()
        yield proxy.client(), script
        assert control_plane.refusals == []


def _tls(authorities: Authorities, **own: str) -> Mapping[str, str]:
    return {"ca_file": str(authorities.settings.ca_file), **own}


def test_tls_as_the_control_plane_sets_it(tmp_path: Path, authorities: Authorities) -> None:
    """With `tls.xds`, the proxy trusts the authority that the cluster names."""
    servers = authorities.bootstrap.server(NAME)
    tls = _tls(authorities, xds="true")
    asked = _asked(tmp_path, authorities, servers, certificate_name=NAME, tls=tls)
    with asked as (client, _):
        assert client.create("board").status == 200


@pytest.mark.parametrize("certificate_name", [NAME, None])
def test_a_plugin_with_tls_by_xds(
    tmp_path: Path, authorities: Authorities, certificate_name: str | None
) -> None:
    """A credential plugin works with the TLS of a cluster, and with the TLS of the settings."""
    authority = authorities.bootstrap if certificate_name else authorities.settings
    own: dict[str, Any] = {
        "tls": _tls(authorities, xds="true"),
        "auth": {"plugin": f"{Plugin.__module__}:{Plugin.__name__}"},
    }
    servers = authority.server(NAME)
    asked = _asked(tmp_path, authorities, servers, certificate_name=certificate_name, **own)
    with asked as (client, script):
        assert client.create("board").status == 200
        assert all("x-token" in metadata for metadata in script.metadata)


def test_tls_by_xds_with_a_wrong_name_is_refused(tmp_path: Path, authorities: Authorities) -> None:
    """A backend whose certificate has another name than the cluster wants gets no call."""
    servers = authorities.bootstrap.server(OTHER_NAME)
    tls = _tls(authorities, xds="true")
    asked = _asked(tmp_path, authorities, servers, certificate_name=NAME, tls=tls)
    with asked as (client, script):
        assert client.create("board").status == 503
        assert script.creates == []


def test_a_cluster_without_tls_gets_the_tls_of_the_settings(
    tmp_path: Path, authorities: Authorities
) -> None:
    """With `tls.xds` and a cluster without TLS, the proxy uses the TLS of its settings."""
    servers = authorities.settings.server(NAME)
    tls = _tls(authorities, xds="true")
    asked = _asked(tmp_path, authorities, servers, certificate_name=None, tls=tls)
    with asked as (client, _):
        assert client.create("board").status == 200


@pytest.mark.parametrize("xds", ["true", "false"])
def test_a_control_plane_cannot_bring_a_secret_down_to_plaintext(
    tmp_path: Path, authorities: Authorities, xds: str
) -> None:
    """If a cluster without TLS names a backend in plaintext, no call and no secret reaches it."""
    key_file = tmp_path / "key"
    key_file.write_text("secret")
    own: dict[str, Any] = {
        "tls": _tls(authorities, xds=xds),
        "auth": {"api_key_file": str(key_file)},
    }
    asked = _asked(tmp_path, authorities, None, certificate_name=None, **own)
    with asked as (client, script):
        assert client.create("board").status == 503
        assert script.metadata == []


def test_without_tls_xds_the_tls_of_a_cluster_is_ignored(
    tmp_path: Path, authorities: Authorities
) -> None:
    """Without `tls.xds`, the TLS of the settings is in force, whatever the cluster wants."""
    servers = authorities.settings.server(NAME)
    tls = _tls(authorities)
    asked = _asked(tmp_path, authorities, servers, certificate_name=OTHER_NAME, tls=tls)
    with asked as (client, _):
        assert client.create("board").status == 200


def test_without_tls_the_tls_of_a_cluster_is_ignored(
    tmp_path: Path, authorities: Authorities
) -> None:
    """Without `tls`, the connection is in plaintext, whatever the cluster wants."""
    with _asked(tmp_path, authorities, None, certificate_name=NAME) as (client, _):
        assert client.create("board").status == 200


@pytest.mark.parametrize("xds", ["true", "false"])
def test_server_name_is_not_the_name_that_routes_match(
    tmp_path: Path, authorities: Authorities, xds: str
) -> None:
    """`server_name` is the name in the certificate; virtual hosts match the name in the target."""
    servers = authorities.settings.server(OTHER_NAME)
    own: dict[str, Any] = {"tls": _tls(authorities, server_name=OTHER_NAME, xds=xds)}
    asked = _asked(tmp_path, authorities, servers, certificate_name=None, domain=NAME, **own)
    with asked as (client, _):
        assert client.create("board").status == 200


def test_server_name_does_not_replace_the_name_that_a_cluster_wants(
    tmp_path: Path, authorities: Authorities
) -> None:
    """With `tls.xds` and a cluster with TLS, the cluster names the certificate."""
    servers = authorities.bootstrap.server(NAME)
    own: dict[str, Any] = {"tls": _tls(authorities, server_name=OTHER_NAME, xds="true")}
    asked = _asked(tmp_path, authorities, servers, certificate_name=NAME, domain=NAME, **own)
    with asked as (client, _):
        assert client.create("board").status == 200


def test_a_proxy_that_starts_before_its_control_plane(tmp_path: Path) -> None:
    """The proxy answers 503 while its control plane is down, and 200 when it is back."""
    with (
        serving_grpc(granting()) as address,
        ControlPlane(tmp_path) as control_plane,
        Stage(tmp_path) as stage,
    ):
        control_plane.publish(
            listener(NAME, route({CLUSTER: 1})), cluster(CLUSTER), endpoints(CLUSTER, [address])
        )
        control_plane.kill()
        proxy = stage.proxy(default={"target": f"xds:///{NAME}", "answer_within": "5s"})
        proxy.environ["GRPC_XDS_BOOTSTRAP"] = str(control_plane.bootstrap_file)
        proxy.start()
        client = proxy.client()
        assert client.create("board").status == 503
        control_plane.start()
        until(lambda: client.create("board").status == 200, "the proxy reaches the backend")


def _check(control_plane: ControlPlane, *flags: str) -> tuple[int, str]:
    environ = os.environ | {
        "GRPC_XDS_BOOTSTRAP": str(control_plane.bootstrap_file),
        "JICOFO_RESERVATION_PROXY_STATE": "memory",
        "JICOFO_RESERVATION_PROXY_BACKENDS__DEFAULT__ANSWER_WITHIN": "1s",
    }
    command: Sequence[str] = [sys.executable, "-m", "jicofo_reservation_proxy", "check", *flags]
    ended = subprocess.run(
        command, env=environ, cwd=ROOT, capture_output=True, text=True, check=False
    )
    return ended.returncode, ended.stdout


@pytest.mark.parametrize("is_stalled", [False, True])
def test_check_says_that_the_control_plane_may_not_know_the_name(
    tmp_path: Path, *, is_stalled: bool
) -> None:
    """`check` names the control plane if it does not know the name, or says nothing at all."""
    with ControlPlane(tmp_path) as control_plane:
        control_plane.publish(listener(NAME, route({CLUSTER: 1})), cluster(CLUSTER))
        if is_stalled:
            control_plane.stall()
        name = NAME if is_stalled else OTHER_NAME
        code, output = _check(control_plane, "--target", f"xds:///{name}")
    assert code == exit_codes.BACKEND_FAILED
    assert "perhaps the control plane does not know the name in the target" in output


def test_without_a_bootstrap_file_the_proxy_does_not_start(tmp_path: Path) -> None:
    """GRPC reads the file only once, so a proxy without it would never reach its backend."""
    environ = {name: value for name, value in os.environ.items() if "GRPC_XDS" not in name}
    command = [sys.executable, "-m", "jicofo_reservation_proxy", "serve"]
    command += ["--target", f"xds:///{NAME}", "--state-dir", str(tmp_path / "state")]
    ended = subprocess.run(
        command, env=environ, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == exit_codes.BAD_SETTINGS
    assert "backends.default.target: wanted a bootstrap file" in ended.stderr

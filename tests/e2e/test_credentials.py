"""API keys, tokens and plugins, and their rotation while calls are in flight."""

import itertools
import logging
import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import grpc
import pytest
from jicofo_reservation_proxy.app import Proxy
from jicofo_reservation_proxy.backends import credentials
from jicofo_reservation_proxy.backends.credential_rotation import CredentialRotation
from jicofo_reservation_proxy.backends.grpc.backend_channel import BackendChannel
from jicofo_reservation_proxy.errors import CredentialsError
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb
from jicofo_reservation_proxy.observability.metrics import Metrics
from jicofo_reservation_proxy.settings.schema import Backend

from .support import (
    Client,
    Context,
    Script,
    conference,
    granting,
    running,
    serving_grpc,
    serving_http,
    settings,
)
from .tls import SERVER_NAME, Authority

PLUGIN_CALLS: list[str] = []


class Plugin(grpc.AuthMetadataPlugin):
    """A plugin like the plugin of an operator."""

    def __call__(
        self, context: grpc.AuthMetadataContext, callback: grpc.AuthMetadataPluginCallback
    ) -> None:
        """Add a new token to each call."""
        PLUGIN_CALLS.append(context.method_name)
        callback((("x-token", f"token-{len(PLUGIN_CALLS)}"),), None)


plugin_instance = Plugin()
not_a_plugin = "text"


def _backend(target: str, **values: object) -> Backend:
    return settings(Path("unused"), backends={"default": {"target": target, **values}}).backends[
        "default"  # type: ignore[index]
    ]


def test_an_api_key_is_sent_in_the_operators_header(tmp_path: Path) -> None:
    """The proxy sends the API key of the file, without the newline at its end."""
    key_file = tmp_path / "key"
    key_file.write_text("s3cret\n")
    auth = {"api_key_file": str(key_file), "header": "X-Room-Key"}
    backend = granting()
    with (
        serving_grpc(backend) as target,
        running(tmp_path, backends={"default": {"target": target, "auth": auth}}) as client,
    ):
        assert client.create().status == 200
        assert client.delete(1).status == 200
    assert len(backend.metadata) >= 2
    assert {metadata["x-room-key"] for metadata in backend.metadata} == {"s3cret"}


def test_a_bearer_token_is_sent_over_tls(tmp_path: Path) -> None:
    """The proxy sends a bearer token and an API key over TLS when both are set."""
    (tmp_path / "token").write_text("abc.def")
    (tmp_path / "key").write_text("k")
    authority, backend = Authority(tmp_path / "ca"), granting()
    with serving_grpc(backend, authority.server()) as target:
        default = {
            "target": target,
            "tls": {"ca_file": str(authority.ca_file), "server_name": SERVER_NAME},
            "auth": {
                "bearer_token_file": str(tmp_path / "token"),
                "api_key_file": str(tmp_path / "key"),
            },
        }
        with running(tmp_path, backends={"default": default}) as client:
            assert client.create().status == 200
    assert backend.metadata[0]["authorization"] == "Bearer abc.def"
    assert backend.metadata[0]["x-api-key"] == "k"


@pytest.mark.parametrize("attribute", ["Plugin", "plugin_instance"])
@pytest.mark.parametrize("secure", [True, False])
def test_a_plugin_is_asked_at_each_call(tmp_path: Path, attribute: str, secure: bool) -> None:
    """Each call carries new metadata from the plugin, which may be a class or an instance."""
    PLUGIN_CALLS.clear()
    authority, backend = Authority(tmp_path / "ca"), granting()
    with serving_grpc(backend, authority.server() if secure else None) as target:
        default: dict[str, object] = {
            "target": target,
            "auth": {"plugin": f"{__name__}:{attribute}"},
        }
        if secure:
            default["tls"] = {"ca_file": str(authority.ca_file), "server_name": SERVER_NAME}
        with running(tmp_path, backends={"default": default}) as client:
            assert [client.create().status for _ in range(2)] == [200, 200]
    assert [metadata["x-token"] for metadata in backend.metadata] == ["token-1", "token-2"]


@pytest.mark.parametrize(
    ("plugin", "message"),
    [
        ("no_such_module:x", "ModuleNotFoundError"),
        (f"{__name__}:nothing", "AttributeError"),
        (f"{__name__}:not_a_plugin", "TypeError"),
        ("builtins:dict", "wanted a grpc.AuthMetadataPlugin, got an object of type dict"),
    ],
)
def test_an_object_that_is_not_a_plugin_is_refused_at_the_start(plugin: str, message: str) -> None:
    """The proxy does not start with an invalid plugin, and the error names the setting."""
    with pytest.raises(CredentialsError, match=r"^backends\.default\.auth\.plugin: ") as caught:
        BackendChannel("default", _backend("unix:/x", auth={"plugin": plugin}), Metrics())
    assert message in str(caught.value)


def test_a_secret_over_a_socket_file_works(tmp_path: Path) -> None:
    """The proxy sends a secret over a socket file without TLS."""
    (tmp_path / "key").write_text("k")
    backend = granting()
    address = f"unix:{tmp_path / 'b.sock'}"
    with serving_grpc(backend, address=address):
        default = {"target": address, "auth": {"api_key_file": str(tmp_path / "key")}}
        with running(tmp_path, backends={"default": default}) as client:
            assert client.create().status == 200
    assert backend.metadata[0]["x-api-key"] == "k"


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (b"", "no characters"),
        (b"\n", "no characters"),
        (b"two\nlines", "2 lines"),
        (b"\xff", "a character that is not printable ASCII"),
        (b"x" * 9000, "9000 characters"),
        (b"tab\there", "a character that is not printable ASCII"),
    ],
)
def test_a_secret_that_cannot_be_sent_is_refused_without_being_shown(
    tmp_path: Path, content: bytes, got: str
) -> None:
    """The error about an invalid secret names the setting and the file, never the content."""
    key_file = tmp_path / "key"
    key_file.write_bytes(content)
    backend = _backend("unix:/x", auth={"api_key_file": str(key_file)})
    with pytest.raises(CredentialsError) as caught:
        BackendChannel("default", backend, Metrics())
    assert str(caught.value) == (
        "backends.default.auth.api_key_file: wanted a single line of 1 to 8192 printable ASCII "
        f"characters in {key_file}, got {got}"
    )


@pytest.mark.parametrize("broken", ["ca_file", "cert_file", "key_file"])
@pytest.mark.parametrize("how", ["missing", "garbage", "empty"])
def test_broken_tls_files_are_refused_at_the_start(tmp_path: Path, broken: str, how: str) -> None:
    """The proxy does not start with a broken TLS file. The error names setting and file."""
    authority = Authority(tmp_path)
    files = {"ca_file": str(authority.ca_file)} | authority.client_files()
    if how == "missing":
        Path(files[broken]).unlink()
    else:
        Path(files[broken]).write_bytes(b"garbage" if how == "garbage" else b"")
    with pytest.raises(CredentialsError) as caught:
        BackendChannel("default", _backend("127.0.0.1:1", tls=files), Metrics())
    assert f"backends.default.tls.{broken}" in str(caught.value)
    assert files[broken] in str(caught.value)


def test_a_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    """The proxy refuses a key that does not match the certificate, which gRPC would accept."""
    authority = Authority(tmp_path)
    files = authority.client_files()
    files["key_file"] = authority.client_files(tmp_path / "other")["key_file"]
    with pytest.raises(
        CredentialsError, match="wanted a PEM certificate chain and its unencrypted"
    ):
        BackendChannel("default", _backend("127.0.0.1:1", tls=files), Metrics())


def test_a_new_api_key_is_used_without_a_restart(tmp_path: Path) -> None:
    """After `refresh`, the calls carry the new API key."""
    key_file = tmp_path / "key"
    key_file.write_text("old")
    backend = granting()
    with (
        serving_grpc(backend) as target,
        _channel(target, auth={"api_key_file": str(key_file)}) as channel,
    ):
        assert channel.calls.metadata == (("x-api-key", "old"),)
        key_file.write_text("new")
        channel.refresh()
        assert channel.calls.metadata == (("x-api-key", "new"),)


def test_the_proxy_notices_changed_files_by_itself(tmp_path: Path) -> None:
    """A running proxy reads a changed file, and uses the new API key."""
    key_file = tmp_path / "key"
    key_file.write_text("old")
    auth = {"api_key_file": str(key_file)}
    with serving_grpc(granting()) as target:
        configured = settings(tmp_path, backends={"default": {"target": target, "auth": auth}})
        with Proxy(configured) as proxy:
            key_file.write_text("new")
            channel = _channel_of(proxy)
            _until(lambda: channel.calls.metadata == (("x-api-key", "new"),))


def test_a_broken_new_file_keeps_the_old_credentials_and_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The old key stays in use until the file is valid again; each change is logged once."""
    caplog.set_level(logging.INFO)
    key_file = tmp_path / "key"
    key_file.write_text("old")
    with (
        serving_grpc(granting()) as target,
        _channel(target, auth={"api_key_file": str(key_file)}) as channel,
    ):
        key_file.write_bytes(b"")
        channel.refresh()
        channel.refresh()
        assert channel.calls.metadata == (("x-api-key", "old"),)
        assert caplog.text.count("the old credentials stay in use") == 1
        key_file.write_text("new")
        channel.refresh()
        assert channel.calls.metadata == (("x-api-key", "new"),)
        assert "new credentials are in use" in caplog.text
        assert "backends.default.credentials: well again after " in caplog.text


def test_a_certificate_that_the_backend_refuses_keeps_the_old_channel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The proxy uses a new channel only after a successful trial call."""
    monkeypatch.setattr("jicofo_reservation_proxy.backends.credential_rotation.TRY_SECONDS", 0.5)
    authority, stranger = Authority(tmp_path / "ca"), Authority(tmp_path / "stranger")
    files = authority.client_files(tmp_path / "client")
    server = authority.server(client_authority=authority)
    tls = {"ca_file": str(authority.ca_file), "server_name": SERVER_NAME, **files}
    with serving_grpc(granting(), server) as target, _channel(target, tls=tls) as channel:
        before = channel.calls
        stranger.client_files(tmp_path / "client")
        channel.refresh()
        assert channel.calls is before
        assert "the trial call with the new credentials failed: " in caplog.text
        authority.client_files(tmp_path / "client")
        channel.refresh()
        assert channel.calls is not before


@pytest.mark.parametrize(("mode", "is_warned"), [(0o644, True), (0o640, False), (0o600, False)])
@pytest.mark.parametrize("name", ["api_key_file", "bearer_token_file"])
def test_a_secret_that_all_users_can_read_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, mode: int, *, is_warned: bool
) -> None:
    """The log names the setting, the file and its mode, and not the secret."""
    file = tmp_path / "secret"
    file.write_text("s3cret")
    file.chmod(mode)
    channel = BackendChannel("a", _backend("unix:/x", auth={name: str(file)}), Metrics())
    channel.close()
    warning = f"backends.a.auth.{name}: all users of this machine can read {file} (mode 0644)"
    assert caplog.messages == [warning] * is_warned


def test_rotation_by_symlink_swap_fails_no_call(tmp_path: Path) -> None:
    """No request fails while Kubernetes replaces certificates by swapping a directory's symlink."""
    authority, backend = Authority(tmp_path / "ca"), granting()
    volume = _Volume(tmp_path / "volume", authority.client_files)
    tls = {
        "ca_file": str(authority.ca_file),
        "server_name": SERVER_NAME,
        "cert_file": str(volume.path / "client.pem"),
        "key_file": str(volume.path / "client.key"),
    }
    peers: set[str] = set()

    def create(request: pb.CreateConferenceRequest, context: Context) -> object:
        peers.add(context.peer())
        return pb.CreateConferenceResponse(conference=conference(request))

    backend.create = create  # type: ignore[assignment]
    server = authority.server(client_authority=authority)
    with serving_grpc(backend, server) as target:
        configured = settings(tmp_path, backends={"default": {"target": target, "tls": tls}})
        with (
            Proxy(configured) as proxy,
            serving_http(proxy) as port,
            _refreshing(proxy),
            _calling(Client(port)) as statuses,
        ):
            _until(partial(_has_size, peers, 1))
            for connections in (2, 3, 4):
                volume.swap()
                _until(partial(_has_size, peers, connections))
    assert set(statuses) == {200}


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED]
)
def test_a_key_that_the_backend_refuses_is_not_used(tmp_path: Path, code: grpc.StatusCode) -> None:
    """The proxy keeps the old API key when the backend refuses the new one."""
    key_file = tmp_path / "key"
    key_file.write_text("good")
    with (
        serving_grpc(_accepting_key("good", code)) as target,
        _channel(target, auth={"api_key_file": str(key_file)}) as channel,
    ):
        key_file.write_text("bad")
        channel.refresh()
        assert channel.calls.metadata == (("x-api-key", "good"),)


def test_a_key_is_used_when_the_backend_also_refuses_the_old_key(tmp_path: Path) -> None:
    """If the backend refuses the trial call with both keys, the proxy uses the new key."""
    key_file = tmp_path / "key"
    key_file.write_text("old")
    with (
        serving_grpc(_accepting_key("none", grpc.StatusCode.PERMISSION_DENIED)) as target,
        _channel(target, auth={"api_key_file": str(key_file)}) as channel,
    ):
        key_file.write_text("new")
        channel.refresh()
        assert channel.calls.metadata == (("x-api-key", "new"),)


def test_a_secret_for_this_machine_goes_through_no_http_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy ignores $http_proxy for local targets, so a secret stays on this machine."""
    (tmp_path / "key").write_text("k")
    backend = granting()
    with (
        socket.create_server(("127.0.0.1", 0)) as http_proxy,
        serving_grpc(backend) as target,
    ):
        http_proxy.settimeout(0)
        for name in ("http_proxy", "https_proxy", "grpc_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{http_proxy.getsockname()[1]}")
        monkeypatch.delenv("no_proxy", raising=False)
        auth = {"api_key_file": str(tmp_path / "key")}
        for local in (target, target.replace("127.0.0.1", "dns:///localhost")):
            default = {"target": local, "auth": auth}
            with running(tmp_path, backends={"default": default}) as client:
                assert client.create().status == 200
        with pytest.raises(BlockingIOError):
            http_proxy.accept()


def test_a_call_in_flight_survives_a_rotation(tmp_path: Path) -> None:
    """A call that started before a rotation still succeeds on the old channel."""
    arrived, release = threading.Event(), threading.Event()

    def slow(request: pb.CreateConferenceRequest, _: Context) -> pb.CreateConferenceResponse:
        arrived.set()
        assert release.wait(10)
        return pb.CreateConferenceResponse(conference=conference(request))

    authority = Authority(tmp_path / "ca")
    files = authority.client_files(tmp_path / "client")
    tls = {"ca_file": str(authority.ca_file), "server_name": SERVER_NAME, **files}
    statuses: list[int] = []
    server = authority.server(client_authority=authority)
    with serving_grpc(Script(slow), server) as target:
        configured = settings(tmp_path, backends={"default": {"target": target, "tls": tls}})
        with Proxy(configured) as proxy, serving_http(proxy) as port:
            caller = threading.Thread(target=lambda: statuses.append(Client(port).create().status))
            caller.start()
            assert arrived.wait(10)
            before = _channel_of(proxy).calls
            authority.client_files(tmp_path / "client")
            _channel_of(proxy).refresh()
            _channel_of(proxy).refresh()
            assert _channel_of(proxy).calls is not before
            release.set()
            caller.join()
    assert statuses == [200]


@pytest.mark.parametrize("kind", ["pipe", "directory", "huge"])
def test_a_pipe_a_directory_and_a_huge_file_are_refused_at_once(tmp_path: Path, kind: str) -> None:
    """The proxy refuses a pipe, a directory or a huge file, and does not block on a pipe."""
    place = tmp_path / "key"
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "directory":
        place.mkdir()
    else:
        place.write_bytes(b"x" * (1024 * 1024 + 1))
    backend = _backend("unix:/x", auth={"api_key_file": str(place)})
    with pytest.raises(CredentialsError, match=r"^backends\.default\.auth\.api_key_file: wanted "):
        BackendChannel("default", backend, Metrics())


def test_secrets_are_not_in_a_representation(tmp_path: Path) -> None:
    """The representation of the credentials contains no secret."""
    (tmp_path / "key").write_text("s3cret")
    backend = _backend("unix:/x", auth={"api_key_file": str(tmp_path / "key")})
    assert "s3cret" not in repr(credentials.load("backends.default", backend))


def _accepting_key(key: str, otherwise: grpc.StatusCode) -> Script:
    """Return a backend whose GetConference accepts only this key, and otherwise fails."""

    def get(_: object, context: Context) -> pb.GetConferenceResponse:
        is_right = dict(context.invocation_metadata())["x-api-key"] == key
        context.abort(grpc.StatusCode.NOT_FOUND if is_right else otherwise, "no")
        raise AssertionError

    backend = granting()
    backend.get = get
    return backend


@contextmanager
def _channel(target: str, **values: object) -> Iterator[BackendChannel]:
    channel = BackendChannel("default", _backend(target, **values), Metrics())
    try:
        yield channel
    finally:
        channel.close()


class _Volume:
    """A directory as Kubernetes mounts a secret: files → ..data → a directory per version."""

    def __init__(self, path: Path, fill: Callable[[Path], object]) -> None:
        self.path = path
        self._fill = fill
        self._numbers = itertools.count()
        path.mkdir()
        self.swap()
        for file in (path / "..data").iterdir():
            (path / file.name).symlink_to(Path("..data") / file.name)

    def swap(self) -> None:
        """Replace all files in one step."""
        version = self.path / f"..{next(self._numbers)}"
        self._fill(version)
        old = (self.path / "..data").resolve() if (self.path / "..data").exists() else None
        new_link = self.path / "..data_tmp"
        new_link.symlink_to(version.name)
        os.replace(new_link, self.path / "..data")  # noqa: PTH105 - replaces the link, not its target
        if old:
            shutil.rmtree(old)


@contextmanager
def _refreshing(proxy: Proxy) -> Iterator[None]:
    """Read the credential files more often than the proxy does by default."""
    refresher = CredentialRotation(lambda: [proxy.backends], every_seconds=0.02)
    try:
        yield
    finally:
        refresher.stop()


@contextmanager
def _calling(client: Client) -> Iterator[list[int]]:
    """Send requests from three threads inside the `with` block; collect the statuses."""
    statuses: list[int] = []
    stopped = threading.Event()

    def call() -> None:
        while not stopped.is_set():
            statuses.append(client.create().status)

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        stopped.set()
        for thread in threads:
            thread.join()


def _has_size(found: set[str], size: int) -> bool:
    return len(found) == size


def _until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds, at most ten seconds."""
    pause = threading.Event()
    for _ in range(1000):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("the condition did not hold within ten seconds")


def _channel_of(proxy: Proxy) -> BackendChannel:
    channel = proxy.backends.members["default"].connection
    assert isinstance(channel, BackendChannel)
    return channel

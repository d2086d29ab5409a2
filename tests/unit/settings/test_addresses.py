"""Addresses: which targets and listen addresses are local."""

import pytest
from jicofo_reservation_proxy.settings.addresses import (
    is_local_target,
    is_loopback_listen,
    is_xds_target,
    split_listen,
    xds_name,
)


@pytest.mark.parametrize(
    "target",
    [
        "unix:/run/reservations.sock",
        "unix:///run/reservations.sock",
        "unix:reservations.sock",
        "unix-abstract:reservations",
        "localhost",
        "localhost:1",
        "127.0.0.1",
        "127.0.0.1:50051",
        "127.1.2.3:1",
        "[::1]",
        "[::1]:1",
        "::1",
        "dns:localhost",
        "dns:localhost:1",
        "dns:127.0.0.1:1",
        "dns:///localhost",
        "dns:///localhost:1",
        "dns:///[::1]:1",
        "ipv4:127.0.0.1:1",
        "ipv4:127.0.0.1:1,127.0.0.2:2",
        "ipv6:[::1]:1",
        "ipv6:[::1]:1,[::1]:2",
    ],
)
def test_local_targets(target: str) -> None:
    """A Unix socket, `localhost` and a loopback address are targets on this machine."""
    assert is_local_target(target)


@pytest.mark.parametrize(
    "target",
    [
        "reservations.example.com:50051",
        "localhost.example.com:1",
        "127.0.0.1.example.com:1",
        "0.0.0.0:1",
        "[::]:1",
        "192.0.2.1:1",
        "[2001:db8::1]:1",
        "2001:db8::1",
        "dns:reservations.example.com:1",
        "dns:///reservations.example.com:1",
        "dns://192.0.2.1/localhost:1",
        "dns:reservations.example.com:1/localhost",
        "dns:///reservations.example.com:1/localhost",
        "ipv4:192.0.2.1:1",
        "ipv4:127.0.0.1:1,192.0.2.1:2",
        "ipv4:192.0.2.1:1,127.0.0.1:1",
        "ipv4:192.0.2.1:1/localhost",
        "ipv4:127.0.0.1:1/reservations.example.com",
        "localhost:1/reservations.example.com",
        "ipv4:192.0.2.1:1/x/localhost",
        "ipv4:127.0.0.1:1,",
        "ipv6:[::1]:1,[2001:db8::1]:2",
        "xds:///localhost",
        "xds:localhost:1",
        "passthrough:///127.0.0.1:1",
        "vsock:1:1",
        "unixy:/run/x",
        "",
        ",",
        ":1",
    ],
)
def test_targets_that_may_be_elsewhere(target: str) -> None:
    """Any target that may be on another machine is not local."""
    assert not is_local_target(target)


@pytest.mark.parametrize(
    ("listen", "host", "port", "loopback"),
    [
        ("127.0.0.1:7777", "127.0.0.1", 7777, True),
        ("localhost:0", "localhost", 0, True),
        ("[::1]:65535", "::1", 65535, True),
        ("0.0.0.0:80", "0.0.0.0", 80, False),  # noqa: S104 - the point of the test
        ("[::]:80", "::", 80, False),
        ("192.0.2.1:80", "192.0.2.1", 80, False),
        ("jitsi.example.com:80", "jitsi.example.com", 80, False),
    ],
)
def test_listen_addresses(listen: str, host: str, port: int, loopback: bool) -> None:
    """`split_listen` returns the host without brackets and the port. Only loopback is local."""
    assert split_listen(listen) == (host, port)
    assert is_loopback_listen(listen) is loopback


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("xds:///reservations", "reservations"),
        ("xds:///reservations.example.com:443", "reservations.example.com:443"),
        ("xds:reservations", "reservations"),
        ("XDS:///reservations", "reservations"),
        ("xds://authority.example.com/reservations", "reservations"),
    ],
)
def test_xds_targets(target: str, name: str) -> None:
    """The name of an xDS target is what follows the scheme and the authority."""
    assert is_xds_target(target)
    assert xds_name(target) == name


@pytest.mark.parametrize("target", ["xdsy:///x", "dns:///xds:1", "127.0.0.1:1", ""])
def test_other_targets_are_no_xds_targets(target: str) -> None:
    """Only the scheme `xds` means a control plane."""
    assert not is_xds_target(target)

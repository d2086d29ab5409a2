"""The command line: read the flags, then serve until a signal stops the server."""

import argparse
import ipaddress
import logging
import math
import re
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

from jicofo_reservation_stub.server import (
    DEFAULT_API_KEY_HEADER,
    DEFAULT_GRACE_SECONDS,
    CredentialsError,
    ListenError,
    Options,
    Server,
    Tls,
)
from jicofo_reservation_stub.service import Policy, ReservationService
from jicofo_reservation_stub.store import DEFAULT_MAX_CONFERENCES, Store

EXIT_OK = 0
EXIT_USAGE = 2
EXIT_LISTEN = 3

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

_EPILOG = f"""\
exit codes:
  {EXIT_OK}  stopped by SIGTERM or SIGINT; --grace limits the time that running calls get
  {EXIT_USAGE}  the value of a flag, or the file that a flag names, is not valid
  {EXIT_LISTEN}  the server could not listen on the address
"""

_INT32_MAX = 2**31 - 1
# The maximum of google.protobuf.Duration, about 10,000 years.
_DURATION_SECONDS_MAX = 315_576_000_000


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code.

    Raises SystemExit with the code 2, as argparse does, when a flag is not valid.
    """
    flags, options = _parse(argv)
    logging.basicConfig(
        level=logging.DEBUG if flags.verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    policy = Policy(
        deny=tuple(flags.deny),
        duration=flags.duration,
        max_occupants=flags.max_occupants,
        lobby=True if flags.lobby else None,
        password=flags.password_file,
    )
    store = Store(max_conferences=flags.max_conferences)
    return _serve(Server(ReservationService(store, policy), options), options)


def run() -> NoReturn:
    """Run as a command: exit the process with the code that `main` returns."""
    sys.exit(main())


def _serve(server: Server, options: Options) -> int:
    try:
        with _stop_signals() as wait_for_one, server as address:
            print(f"listening on {address} ({_kind(options)})", flush=True)
            wait_for_one()
    except ListenError as error:
        print(f"jicofo-reservation-stub: error: --listen: {error}", file=sys.stderr)
        return EXIT_LISTEN
    return EXIT_OK


@contextmanager
def _stop_signals() -> Iterator[Callable[[], None]]:
    """Catch SIGTERM and SIGINT; yield a function that waits for one, also for an earlier one.

    A signal handler cannot wake up the main thread here. Python runs the handler in the main thread
    between two steps. If the system delivers the signal just before the main thread begins to wait,
    or to a thread of gRPC, the handler would run only after the wait. So the main thread waits for
    the byte that Python writes to a socket as soon as it gets a signal.
    """
    reader, writer = socket.socketpair()
    with reader, writer:
        writer.settimeout(0)  # set_wakeup_fd requires a socket that does not block
        wakeup_before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        # Python writes the byte only for a signal that has a handler.
        handlers_before = {
            number: signal.signal(number, lambda _number, _frame: None) for number in _STOP_SIGNALS
        }

        def wait_for_one() -> None:
            while reader.recv(1)[0] not in _STOP_SIGNALS:  # the byte is the number of the signal
                pass

        try:
            yield wait_for_one
        finally:
            for number, handler in handlers_before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(wakeup_before)


def _kind(options: Options) -> str:
    if options.tls is None:
        return "plaintext"
    return "TLS" if options.tls.client_ca is None else "mTLS"


def _parse(argv: Sequence[str] | None) -> tuple[argparse.Namespace, Options]:
    parser = _parser()
    flags = parser.parse_args(argv)
    if (flags.tls_cert is None) != (flags.tls_key is None):
        parser.error("--tls-cert and --tls-key: wanted both flags or neither, got only one")
    if flags.client_ca is not None and flags.tls_cert is None:
        parser.error("--client-ca: wanted --tls-cert and --tls-key as well, got neither")
    if flags.api_key_header is not None and flags.api_key_file is None:
        parser.error("--api-key-header: wanted --api-key-file as well, got none")
    if flags.insecure and flags.tls_cert is not None:
        parser.error("--insecure: wanted no TLS flags, got --tls-cert; remove one of the two flags")
    if not (flags.tls_cert or flags.insecure or _is_local(flags.listen)):
        parser.error(
            "--listen: wanted a loopback address or a Unix socket, since there is no TLS, "
            f"got {flags.listen}; add --tls-cert and --tls-key, or add --insecure if you trust "
            "the network"
        )
    tls = None
    try:
        if flags.tls_cert is not None:
            tls = Tls.from_files(flags.tls_cert, flags.tls_key, flags.client_ca)
    except CredentialsError as error:
        parser.error(f"--tls-cert, --tls-key, --client-ca: {error}")
    return flags, Options(
        listen=flags.listen,
        tls=tls,
        api_key=flags.api_key_file,
        api_key_header=flags.api_key_header or DEFAULT_API_KEY_HEADER,
        grace_seconds=flags.grace,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jicofo-reservation-stub",
        description="A reservation backend that keeps its conferences in memory.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    serving = parser.add_argument_group("options of the server")
    serving.add_argument(
        "--listen",
        type=_address,
        default="127.0.0.1:50051",
        metavar="ADDRESS",
        help="the address to listen on: host:port (port 0: any free port) or unix:/path "
        "(default: %(default)s)",
    )
    serving.add_argument(
        "--tls-cert",
        type=Path,
        metavar="FILE",
        help="serve TLS with the certificate chain in this file (PEM)",
    )
    serving.add_argument(
        "--tls-key",
        type=Path,
        metavar="FILE",
        help="the private key of the certificate (PEM, not encrypted)",
    )
    serving.add_argument(
        "--client-ca",
        type=Path,
        metavar="FILE",
        help="accept only clients with a certificate of this authority (mTLS, PEM)",
    )
    serving.add_argument(
        "--insecure",
        action="store_true",
        help="allow plaintext on an address that is not loopback",
    )
    serving.add_argument(
        "--api-key-file",
        type=_secret,
        metavar="FILE",
        help="accept only calls with the API key in this file; health checks and reflection need "
        "no key",
    )
    serving.add_argument(
        "--api-key-header",
        type=_header,
        metavar="NAME",
        help=f"the metadata key that carries the API key (default: {DEFAULT_API_KEY_HEADER})",
    )
    serving.add_argument(
        "--grace",
        type=_grace,
        default=DEFAULT_GRACE_SECONDS,
        metavar="SECONDS",
        help="how long the running calls may continue after a stop signal (default: %(default)g)",
    )
    serving.add_argument(
        "--verbose", action="store_true", help="log each create request, in addition to its answer"
    )
    deciding = parser.add_argument_group("rules of the backend")
    deciding.add_argument(
        "--deny",
        action="append",
        default=[],
        metavar="PATTERN",
        help="deny rooms whose name matches this pattern (* and ? as in a shell); may be repeated",
    )
    deciding.add_argument(
        "--duration",
        type=_duration,
        metavar="SECONDS",
        help="the maximum duration of a conference (default: no limit)",
    )
    deciding.add_argument(
        "--max-occupants",
        type=_positive,
        metavar="N",
        help="the maximum number of people in a room (default: not set)",
    )
    deciding.add_argument(
        "--lobby", action="store_true", help="turn on the lobby in every room (default: not set)"
    )
    deciding.add_argument(
        "--password-file",
        type=_password,
        metavar="FILE",
        help="protect every room with the password in this file",
    )
    deciding.add_argument(
        "--max-conferences",
        type=_positive,
        default=DEFAULT_MAX_CONFERENCES,
        metavar="N",
        help="the maximum number of conferences in the store (default: %(default)s)",
    )
    return parser


def _address(text: str) -> str:
    if text.startswith("unix:") and len(text) > len("unix:"):
        return text
    host, _, port = text.rpartition(":")
    # ASCII digits only: int() accepts other Unicode digits too, gRPC does not.
    if not (host and re.fullmatch("[0-9]{1,5}", port) and int(port) <= 65_535):
        raise argparse.ArgumentTypeError(
            f"wanted host:port or unix:/path, got {text!r}; for example 127.0.0.1:50051"
        )
    return text


def _is_local(listen: str) -> bool:
    host = listen.rpartition(":")[0].strip("[]")
    if listen.startswith("unix:") or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _positive(text: str) -> int:
    if not (re.fullmatch("[0-9]{1,10}", text) and 1 <= int(text) <= _INT32_MAX):
        raise argparse.ArgumentTypeError(
            f"wanted a whole number from 1 to {_INT32_MAX}, got {text!r}"
        )
    return int(text)


def _seconds(text: str, least: int, most: int) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    # This comparison also rejects NaN, which float() accepts.
    if not least <= seconds <= most:
        raise argparse.ArgumentTypeError(
            f"wanted a number of seconds from {least} to {most}, got {text!r}"
        )
    return seconds


def _grace(text: str) -> float:
    return _seconds(text, 0, 3600)


def _duration(text: str) -> timedelta:
    return timedelta(seconds=_seconds(text, 1, _DURATION_SECONDS_MAX))


def _header(text: str) -> str:
    name = text.lower()
    # The characters that gRPC allows in metadata keys. Keys that end in "-bin" have binary values,
    # and gRPC reserves keys that begin with "grpc-".
    if not re.fullmatch("(?!grpc-)[0-9a-z_.-]+(?<!-bin)", name):
        raise argparse.ArgumentTypeError(
            "wanted letters, digits, '-', '_' and '.', without 'grpc-' at the start or '-bin' at "
            f"the end, got {text!r}"
        )
    return name


def _line(path: str) -> str:
    """Return the single line of a file, without the line ending."""
    try:
        text = Path(path).read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise argparse.ArgumentTypeError(
            f"wanted a readable file, got {path}: {error.strerror}"
        ) from error
    except UnicodeDecodeError as error:
        raise argparse.ArgumentTypeError(
            f"wanted UTF-8 text, got bytes that are not valid UTF-8 in {path}"
        ) from error
    if not text or not text.isprintable():
        raise argparse.ArgumentTypeError(
            "wanted a single line of printable text, got an empty file, several lines or control "
            f"characters in {path}"
        )
    return text


def _secret(path: str) -> str:
    key = _line(path)
    if not key.isascii() or key != key.strip():
        # gRPC accepts only printable ASCII in a metadata value, and may strip spaces at its ends.
        raise argparse.ArgumentTypeError(
            "wanted ASCII characters without spaces at the start or the end, got other characters "
            f"in {path}"
        )
    return key


def _password(path: str) -> str:
    password = _line(path)
    if len(password.encode()) > 255:
        raise argparse.ArgumentTypeError(
            f"wanted at most 255 bytes, got {len(password.encode())} bytes in {path}"
        )
    return password


if __name__ == "__main__":
    run()

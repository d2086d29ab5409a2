"""The command `jicofo-reservation-proxy`; `python -m jicofo_reservation_proxy` runs it too."""

import signal
import sys

TOOLS = {"conformance", "simulate"}
"""The commands that SIGTERM interrupts in the same way as Ctrl-C."""


OTHERS = {*TOOLS, "call", "check", "ledger", "reload", "status"}
"""The commands besides `serve`, which reloads its settings at SIGHUP."""


def _end(*_: object) -> None:
    """End the process before a command handles SIGTERM; `serve` has nothing to finish yet."""
    sys.exit(128 + signal.SIGINT if TOOLS & set(sys.argv[1:2]) else 0)


# Before the other modules, which take a while to load.
signal.signal(signal.SIGTERM, _end)
if not OTHERS & set(sys.argv[1:2]):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

import gc  # noqa: E402
import io  # noqa: E402
import os  # noqa: E402
from typing import NoReturn  # noqa: E402

READER_GONE = 128 + signal.SIGPIPE
"""The exit code when the reader of the output closes the pipe. Shells report the same code."""


def run() -> NoReturn:
    """Run the command and exit with its code.

    Ctrl-C prints no traceback, also while the modules load and after the command ends.

    The garbage collector pauses while the modules load. They leave no garbage, but the collector
    would read all of them several times. `gc.freeze` excludes the modules from later collections
    too, of which each would otherwise stop every thread for some 20 ms.

    This function sets `GRPC_VERBOSITY` to `NONE`, unless the operator has set it. Otherwise the
    core of gRPC writes its own lines to the log, for example a line for each backend without health
    checking. The errors of the calls contain the same information.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    gc.disable()
    from .commands.main import load, main  # noqa: PLC0415 - after the lines above

    load(sys.argv[1:])
    gc.freeze()
    gc.enable()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal may support only ASCII
            stream.reconfigure(errors="backslashreplace")
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of the output, such as `head`, has closed the pipe. Python flushes standard
        # output once more at exit, and that flush must not fail too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = READER_GONE
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    sys.exit(code)


if __name__ == "__main__":
    run()

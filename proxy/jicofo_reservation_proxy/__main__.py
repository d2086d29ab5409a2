"""The command `jicofo-reservation-proxy`, also as `python -m jicofo_reservation_proxy`."""

import io
import os
import signal
import sys
from typing import NoReturn

READER_GONE = 128 + signal.SIGPIPE
"""The exit code of a command that a shell's pipe ended, by custom."""


def run() -> NoReturn:
    """Run the command. Ctrl-C is a clean end also while the modules load, and after the work.

    gRPC's core would write lines of its own among those of the log, such as one for each backend
    without health checking; what matters of them is in the errors of the calls.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from .commands.main import main  # noqa: PLC0415 - see above

    signal.signal(signal.SIGINT, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal may know no more than ASCII
            stream.reconfigure(errors="backslashreplace")
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the output, such as `head`, has had enough; Python would flush it once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = READER_GONE
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    sys.exit(code)


if __name__ == "__main__":
    run()

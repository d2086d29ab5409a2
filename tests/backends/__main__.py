"""Build a stub backend, start it, and check it with the conformance kit: `make conformance-go`.

The first argument is the name of the stub. The other arguments are flags of
`jicofo-reservation-proxy conformance`.
"""

import sys

from jicofo_reservation_proxy.commands import main as cli
from jicofo_reservation_proxy.conformance.kit import DENIED_ROOM

from .stubs import STUBS, StubError, serving


def main(name: str, *flags: str) -> int:
    """Return the exit code of the kit, or 1 if the stub cannot be built or run."""
    stub = next(stub for stub in STUBS if stub.name == name)
    if stub.missing_tools:
        print(f"The {stub.title} backend needs {stub.missing_tools}; install it.", file=sys.stderr)
        return 1
    try:
        stub.build()
        with serving(stub, "--deny", DENIED_ROOM) as address:
            return cli.main(["conformance", address, *flags])
    except StubError as error:
        print(f"conformance of {name}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

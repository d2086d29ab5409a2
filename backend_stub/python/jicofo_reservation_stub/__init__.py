"""A reservation backend to copy and extend. It keeps its conferences in memory.

The package imports a module when one of its names is first used, so that importing
`jicofo_reservation_stub.store` does not import gRPC. The package does not export the names of
`jicofo_reservation_stub.server`: a program with a gRPC server of its own does not need the health
checking and the reflection of that module.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jicofo_reservation_stub.service import Policy, ReservationService
    from jicofo_reservation_stub.store import Booking, Conference, Store, StoreFullError

__all__ = ["Booking", "Conference", "Policy", "ReservationService", "Store", "StoreFullError"]

_SERVICE_NAMES = frozenset({"Policy", "ReservationService"})


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "service" if name in _SERVICE_NAMES else "store"
    value: object = getattr(import_module(f"{__name__}.{module}"), name)
    return value

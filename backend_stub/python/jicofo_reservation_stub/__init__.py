"""A reservation backend to start from: it keeps its conferences in memory.

The names load their modules when they are first used, so that `jicofo_reservation_stub.store`
does not bring gRPC along. `jicofo_reservation_stub.server` is not among them: who serves the
service some other way does not need its health checking and reflection.
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

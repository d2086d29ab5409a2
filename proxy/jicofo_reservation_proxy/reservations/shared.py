"""What all requests share, also across a reload of the settings.

Two requests for one room must exclude each other although a reload comes between them, and the
in-flight limits must count the calls that began before it. So these objects stay the same.
"""

from collections.abc import Callable
from dataclasses import dataclass

from jicofo_reservation_proxy.clock import now_ms
from jicofo_reservation_proxy.ledger.ledger import Store

from .deletion_delivery import Delivery
from .in_flight_limits import InFlightLimits
from .numeric_ids import NumericIds
from .room_queue import RoomQueue


@dataclass(frozen=True, slots=True)
class Shared:
    """The objects that a reload keeps. `now_ms` is the time of day."""

    store: Store
    delivery: Delivery
    numeric_ids: NumericIds
    in_flight: InFlightLimits
    room_queue: RoomQueue
    now_ms: Callable[[], int] = now_ms

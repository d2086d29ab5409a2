"""The front door: all that the settings decide about a request before a backend is asked.

A reload makes a new front door, and replaces the one in use at once. A request takes the front door
when it arrives, and keeps it until its answer.
"""

from dataclasses import dataclass

from .access_control import AccessControl
from .base_path import BasePath
from .fast_path import FastPath
from .handlers import Handlers
from .listener_tls import ListenerTls
from .refusals import Refusals


@dataclass(frozen=True, slots=True)
class FrontDoor:
    """What a request passes, and the handlers behind it.

    `fast_path` learns of what has passed. `tls` is `None` if the listener speaks plain HTTP.
    `threads` and `drain_seconds` are settings of the listener.
    """

    access: AccessControl
    base_path: BasePath
    refusals: Refusals
    handlers: Handlers
    fast_path: FastPath
    tls: ListenerTls | None
    threads: int
    drain_seconds: float


class FrontDoorInUse:
    """The front door for the next request: `door`, which a reload replaces."""

    __slots__ = ("door",)

    def __init__(self, door: FrontDoor) -> None:
        self.door = door

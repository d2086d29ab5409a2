"""The composition root: settings → objects → a WSGI application."""

import atexit
from typing import TYPE_CHECKING, cast

from flask import Flask

from jicofo_reservation_proxy.settings.origins import Origins
from jicofo_reservation_proxy.settings.schema import Settings
from jicofo_reservation_proxy.settings.sources import Loaded, Source

from .proxy import EXTENSION, Proxy

if TYPE_CHECKING:
    from jicofo_reservation_proxy.gen.jicofo.reservation.v1.reservation_pb2_grpc import (
        ReservationServiceServicer,
    )

__all__ = ["EXTENSION", "Proxy", "create_app"]


def create_app(
    settings: Settings | None = None, servicer: "ReservationServiceServicer | None" = None
) -> Flask:
    """Return the WSGI application, for another WSGI server.

    Without `settings`, the settings come from the environment (`sources.load`). `servicer` is an
    instance of a Python class that implements the contract. It is the only backend, and runs in
    this process.

    The proxy closes itself when the interpreter ends. To close it earlier, call
    `app.extensions["jicofo_reservation_proxy"].close()`.

    A server that forks must call this function in its worker, because threads do not survive a
    fork: after a fork, the application answers every request with 503. The server must have only
    one worker, because a state directory belongs to one process.

    Raises `SettingsError`, `CredentialsError` and `StateError`.
    """
    source = None if settings is not None else Source()
    loaded = source.read() if source else Loaded(cast("Settings", settings), Origins())
    proxy = Proxy(
        loaded.settings, servicer, origins=loaded.origins, source=source, has_listener=False
    )
    atexit.register(proxy.close)
    return proxy.flask

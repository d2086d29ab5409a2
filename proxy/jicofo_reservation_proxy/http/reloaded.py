"""A value that is read from files again when they change, such as tokens or a certificate."""

import logging
from collections.abc import Callable
from typing import Generic, TypeVar

from jicofo_reservation_proxy.errors import CredentialsError
from jicofo_reservation_proxy.observability.health import Health, Words
from jicofo_reservation_proxy.observability.metrics import Metrics

logger = logging.getLogger(__name__)

WORDS = Words("broken", "well again", level=logging.ERROR, tells_each_reason=True)
"""The words of the component of credentials."""

ValueT = TypeVar("ValueT")


class Reloaded(Generic[ValueT]):
    """The value that `read` returned last. If it fails, the value before stays in use.

    `key` is the setting that names the files. Two values are equal if the files are equal. The
    constructor raises the `CredentialsError` of `read`.
    """

    def __init__(
        self,
        key: str,
        read: Callable[[], ValueT],
        metrics: Metrics,
        health: Health | None = None,
    ) -> None:
        self._key = key
        self._read = read
        self._metrics = metrics
        self._component = (health or Health()).component(key, WORDS)
        self._value = read()

    @property
    def value(self) -> ValueT:
        """The value in use."""
        return self._value

    def refresh(self) -> None:
        """Read the files again. The log contains a repeated failure only once."""
        try:
            found = self._read()
        except CredentialsError as error:
            self._metrics.listener_reloads.labels(self._key, "failed").inc()
            self._component.fail(
                f"{error}; what was read before stays in use, and the proxy will try again"
            )
            return
        self._component.recover()
        if found != self._value:
            self._value = found
            self._metrics.listener_reloads.labels(self._key, "ok").inc()
            logger.info("%s: the files have changed and are in use", self._key)

"""A value that is read from files again when they change, such as tokens or a certificate."""

import logging
from collections.abc import Callable
from typing import Generic, TypeVar

from jicofo_reservation_proxy.errors import CredentialsError
from jicofo_reservation_proxy.observability.metrics import Metrics

logger = logging.getLogger(__name__)

ValueT = TypeVar("ValueT")


class Reloaded(Generic[ValueT]):
    """The value that `read` returned last. If it fails, the value before stays in use.

    `key` is the setting that names the files. Two values are equal if the files are equal. The
    constructor raises the `CredentialsError` of `read`.
    """

    def __init__(self, key: str, read: Callable[[], ValueT], metrics: Metrics) -> None:
        self._key = key
        self._read = read
        self._metrics = metrics
        self._complaint = ""
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
            self._complain(str(error))
            return
        self._complaint = ""
        if found != self._value:
            self._value = found
            self._metrics.listener_reloads.labels(self._key, "ok").inc()
            logger.info("%s: the files have changed and are in use", self._key)

    def _complain(self, complaint: str) -> None:
        self._metrics.listener_reloads.labels(self._key, "failed").inc()
        if complaint != self._complaint:
            logger.error(
                "%s; what was read before stays in use, and the proxy will try again", complaint
            )
        self._complaint = complaint

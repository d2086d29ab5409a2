"""A warning each day while a certificate is about to end."""

import logging
import time
from collections.abc import Callable, Iterable

from jicofo_reservation_proxy.certificates import CertificateEnd
from jicofo_reservation_proxy.clock import now_ms
from jicofo_reservation_proxy.text_rules import format_period, format_time

WARN_SECONDS = 14 * 86_400
"""Long enough before the end to make and to install a new certificate on a working day."""

EVERY_SECONDS = 86_400

logger = logging.getLogger(__name__)


class CertificateWatch:
    """Warns of certificates that end soon, at the first `refresh` and then once a day.

    `certificates` returns those in use. `clock` counts seconds from an arbitrary start.
    """

    def __init__(
        self,
        certificates: Callable[[], Iterable[CertificateEnd]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._certificates = certificates
        self._clock = clock
        self._next_at = -float("inf")

    def refresh(self) -> None:
        """Log the warnings, if it is time for them."""
        if self._clock() < self._next_at:
            return
        self._next_at = self._clock() + EVERY_SECONDS
        for found in self._certificates():
            left_seconds = (found.ends_at_ms - now_ms()) / 1000
            if left_seconds < WARN_SECONDS:
                when = f"in {format_period(left_seconds)}" if left_seconds > 0 else "already"
                logger.warning(
                    "%s: a certificate ends %s, at %s; replace the file, the proxy then uses it "
                    "without a restart",
                    found.key,
                    when,
                    format_time(found.ends_at_ms),
                )

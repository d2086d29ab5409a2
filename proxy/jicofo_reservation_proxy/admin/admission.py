"""Which requests the admin listener answers: not those that pages of other sites send.

The status page may refresh itself, and a link on another page may lead to it: such a request shows
its answer to the user of the browser only, and never to the page that has the link.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client import Counter

from jicofo_reservation_proxy.http.host_names import HostNames
from jicofo_reservation_proxy.observability.throttle import Throttle

READING = ("GET", "HEAD")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that is refused: the reason, the HTTP status, and the sentence for the client."""

    reason: str
    status: int
    message: str


OF_A_WEB_PAGE = Refusal("origin", 403, "Pages of other sites may not use the admin listener.")
OTHER_HOST = Refusal(
    "host",
    403,
    "The admin listener does not answer to this name. Use an IP address or localhost, or add the "
    "name to allowed_hosts.",
)


def refusal_of(environ: Mapping[str, Any], names: HostNames) -> Refusal | None:
    """Return why a request is refused; `None` if it is admitted. `environ` is WSGI's (PEP 3333).

    Browsers send `Sec-Fetch-Site: same-origin` with the requests of the page itself, and `Origin`
    with those that may change something (the Fetch standard and Fetch Metadata).
    """
    if "HTTP_ORIGIN" in environ:
        return OF_A_WEB_PAGE
    site = environ.get("HTTP_SEC_FETCH_SITE", "none")
    if site not in {"none", "same-origin"} and not _is_a_followed_link(environ):
        return OF_A_WEB_PAGE
    if not names.allow(environ.get("HTTP_HOST", "")):
        return OTHER_HOST
    return None


def _is_a_followed_link(environ: Mapping[str, Any]) -> bool:
    is_top_level = (
        environ.get("HTTP_SEC_FETCH_MODE") == "navigate"
        and environ.get("HTTP_SEC_FETCH_DEST") == "document"
    )
    return is_top_level and environ.get("REQUEST_METHOD") in READING


class AdminRefusals:
    """Counts the refusals of the admin listener, and logs at most one a minute for each reason."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._throttles = {each.reason: Throttle() for each in (OF_A_WEB_PAGE, OTHER_HOST)}

    def note(self, refusal: Refusal, peer: str) -> None:
        """Record a refusal. `peer` is the address of the client."""
        self._counter.labels(refusal.reason).inc()
        if number := self._throttles[refusal.reason].note():
            logger.warning(
                "admin_listen: refused a request of %s: %s (%d such refusals since the last line)",
                peer,
                refusal.message,
                number,
            )

"""Load on a proxy: several clients that open and close rooms until the test has seen enough."""

import threading
from collections import Counter
from collections.abc import Callable
from typing import Self

from .processes import PATIENCE_SECONDS, Proxy, until

CLIENTS = 8


class Load:
    """Clients that open, read and close rooms of their own, one request at a time each."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._statuses: list[int] = []
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._meet, args=(number,)) for number in range(CLIENTS)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    @property
    def statuses(self) -> Counter[int]:
        """The number of answers with each status so far."""
        return Counter(self._statuses)

    @property
    def count(self) -> int:
        """The number of requests that were answered so far."""
        return len(self._statuses)

    def continue_until(
        self,
        condition: Callable[[], object],
        what: str,
        within_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        """Go on until a condition holds; fail if a client got no answer, and so ended."""
        until(lambda: condition() or not self._are_alive(), what, within_seconds)
        assert self._are_alive(), "a client got no answer"

    def _are_alive(self) -> bool:
        return all(thread.is_alive() for thread in self._threads)

    def _meet(self, number: int) -> None:
        client, round_ = self._proxy.client(), 0
        while not self._stopped.is_set():
            round_ += 1
            created = client.create(f"room{number}-{round_}")
            self._statuses.append(created.status)
            if created.status == 200:
                self._statuses.append(client.get(created.json["id"]).status)
                self._statuses.append(client.delete(created.json["id"]).status)

"""The reload: read the settings again, check them as a whole, and then use them.

A reload comes from SIGHUP, from the command `reload` or from the admin listener. Wrong settings
change nothing.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from queue import SimpleQueue

from jicofo_reservation_proxy.clock import now_ms
from jicofo_reservation_proxy.errors import ProxyError, SettingsError

from .schema import Settings
from .sources import Loaded, Source

_STOPPING = "the proxy is stopping, so it reloads nothing"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ReloadState:
    """The settings in use, and the last reloads. Times are milliseconds since the epoch.

    `last_good_ms` is the start of the process before the first good reload. `last_failed_ms` is
    `None` before the first failure. `faults` has the faults of the last reload if it failed.
    """

    hash: str
    last_good_ms: int
    last_failed_ms: int | None = None
    faults: Sequence[str] = ()

    @property
    def has_failed(self) -> bool:
        """Whether the last reload failed, so that earlier settings are in use."""
        return bool(self.faults)


@dataclass(frozen=True, slots=True)
class ReloadResult:
    """The result of a reload: its faults, or the sentences about what has changed."""

    faults: Sequence[str] = ()
    notes: Sequence[str] = ()


class _Request(Enum):
    RELOAD = "reload"
    STOP = "stop"


class Reloader:
    """Reloads the settings from their source, one reload at a time.

    `use` takes the new settings and returns sentences about what has changed. It raises
    `ProxyError` if they cannot be used, and then has changed nothing. Without a source, the
    settings come from the program that made the proxy, and a reload fails. Any thread may call the
    methods.
    """

    def __init__(
        self,
        source: Source | None,
        settings: Settings,
        use: Callable[[Loaded], Sequence[str]],
        now_ms: Callable[[], int] = now_ms,
    ) -> None:
        self._source = source
        self._use = use
        self._now_ms = now_ms
        self._lock = threading.Lock()
        self._is_stopped = False
        self._requests: SimpleQueue[_Request] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self.state = ReloadState(hash_of(settings), now_ms())

    def start(self) -> None:
        """Start the thread that carries out the reloads of `request`."""
        self._thread = threading.Thread(target=self._run, name="reload", daemon=True)
        self._thread.start()

    def request(self) -> None:
        """Let the thread reload soon."""
        self._requests.put(_Request.RELOAD)

    def stop(self, within_seconds: float = 5.0) -> None:
        """Begin no more reloads, and wait for one in progress."""
        self._is_stopped = True
        self._requests.put(_Request.STOP)
        if self._thread:
            self._thread.join(within_seconds)

    def refuse(self) -> None:
        """Begin no more reloads: the proxy stops."""
        self._is_stopped = True

    def reload(self) -> ReloadResult:
        """Read, check and use the settings; return what has changed, or all faults."""
        with self._lock:
            if self._is_stopped:
                return ReloadResult((_STOPPING,))
            if self._source is None:
                return ReloadResult(
                    ("the program that made the proxy gave it its settings; restart that program",)
                )
            return self._reload(self._source)

    def _reload(self, source: Source) -> ReloadResult:
        try:
            loaded = source.read()
            if self._is_stopped:  # the file was slow
                return ReloadResult((_STOPPING,))
            notes = self._use(loaded)
        except ProxyError as error:
            return self._failed(_faults(error))
        except Exception:
            logger.exception("a fault of the proxy in a reload")
            return self._failed(("a fault of the proxy; its log has the details",))
        failed_ms = self.state.last_failed_ms
        self.state = ReloadState(hash_of(loaded.settings), self._now_ms(), failed_ms)
        result = ReloadResult(notes=notes or ("nothing has changed",))
        logger.info("the settings were reloaded: %s", "; ".join(result.notes))
        return result

    def _failed(self, faults: Sequence[str]) -> ReloadResult:
        before = self.state
        self.state = ReloadState(before.hash, before.last_good_ms, self._now_ms(), faults)
        logger.error(
            "the reload failed and has changed nothing; %d %s: %s",
            len(faults),
            "fault" if len(faults) == 1 else "faults",
            "; ".join(faults),
        )
        return ReloadResult(faults)

    def _run(self) -> None:
        while self._next() is _Request.RELOAD:
            if not self._is_stopped:
                self.reload()

    def _next(self) -> _Request:
        """Wait for the next request; several signals that have come by now are one."""
        request = self._requests.get()
        while request is _Request.RELOAD and not self._requests.empty():
            request = self._requests.get()
        return request


def hash_of(settings: Settings) -> str:
    """Return a short text that differs for different settings. No setting is a secret."""
    return hashlib.sha256(repr(settings).encode()).hexdigest()[:12]


def _faults(error: ProxyError) -> Sequence[str]:
    if isinstance(error, SettingsError):
        return [str(fault) for fault in error.faults]
    return str(error).splitlines()

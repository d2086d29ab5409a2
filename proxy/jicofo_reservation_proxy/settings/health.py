"""The health of the settings: whether the last reload failed. `Reloader` logs each reload."""

from jicofo_reservation_proxy.observability.health import ComponentState

from .reloader import Reloader


class SettingsHealth:
    """The component `settings`."""

    name = "settings"

    def __init__(self, reloader: Reloader) -> None:
        self._reloader = reloader

    @property
    def state(self) -> ComponentState:
        """The state now. It fails from a failed reload to the next good one."""
        found = self._reloader.state
        since_ms = (found.has_failed and found.last_failed_ms) or found.last_good_ms
        faults = "; ".join(found.faults)
        return ComponentState(self.name, not found.has_failed, faults, since_ms)

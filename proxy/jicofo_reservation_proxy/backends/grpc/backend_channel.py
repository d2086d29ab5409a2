"""The channel to one backend, with the newest credentials that the backend accepts."""

from __future__ import annotations

from typing import NamedTuple, cast

import grpc

from jicofo_reservation_proxy.backends.backend import PROBE_ID
from jicofo_reservation_proxy.backends.credential_rotation import (
    TRY_SECONDS,
    Rotation,
    TrialFailure,
)
from jicofo_reservation_proxy.backends.credentials import Credentials
from jicofo_reservation_proxy.ids import new_incident_id
from jicofo_reservation_proxy.observability.health import Health
from jicofo_reservation_proxy.observability.metrics import Metrics
from jicofo_reservation_proxy.settings.addresses import is_xds_target
from jicofo_reservation_proxy.settings.schema import Backend

from . import contract
from .auth_plugin import load_plugin
from .channel import Calls, bind, dial, service_config
from .xds_bootstrap import check_bootstrap

_NOT_REACHED = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
_NOT_ALLOWED = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}


class _Dialed(NamedTuple):
    """A channel, and the RPCs over it."""

    channel: grpc.Channel
    calls: Calls


class BackendChannel(Rotation[_Dialed]):
    """The channel to one backend, with the newest credentials that the backend accepts.

    The constructor raises `CredentialsError` if it cannot use the credential files, and
    `SettingsError` if a control plane names the addresses and there is no bootstrap file. The
    channel connects in the background.
    """

    def __init__(
        self, name: str, backend: Backend, metrics: Metrics, health: Health | None = None
    ) -> None:
        key = f"backends.{name}"
        if is_xds_target(backend.target):
            check_bootstrap(f"{key}.target", backend.target)
        self._plugin = load_plugin(f"{key}.auth", backend.auth)
        super().__init__(name, backend, metrics, health)

    @property
    def calls(self) -> Calls:
        """The RPCs over the current channel."""
        return self._opened.calls

    def _open(self, found: Credentials, known: _Dialed | None) -> _Dialed:
        channel = known.channel if known else self._dial(found)
        constant = tuple(self._backend.metadata.items())
        return _Dialed(channel, bind(channel, self._backend.methods, constant + found.metadata))

    def _close(self, opened: _Dialed) -> None:
        opened.channel.close()

    def _trial_failure(self, opened: _Dialed) -> TrialFailure | None:
        """Read a conference that does not exist."""
        try:
            opened.calls.get(
                contract.get_message(PROBE_ID),
                timeout=TRY_SECONDS,
                wait_for_ready=True,
                metadata=((contract.INCIDENT_KEY, new_incident_id()), *opened.calls.metadata),
            )
        except grpc.RpcError as error:
            call = cast("grpc.Call", error)
            if call.code() in _NOT_REACHED | _NOT_ALLOWED:
                is_refusal = call.code() in _NOT_ALLOWED
                return TrialFailure(call.code().name, is_refusal, call.details() or "")
        return None

    def _dial(self, found: Credentials) -> grpc.Channel:
        return dial(self._backend, found, self._plugin, (service_config(self._backend),))

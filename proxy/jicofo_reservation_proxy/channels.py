"""One gRPC channel per backend, replaced when the credentials' files change.

New credentials take over once the backend has taken them, so that a set that it refuses leaves
the old one in use. The old channel is closed when the last call that could be on it has passed
its deadline: no call fails because of a replacement.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import cast

import grpc

from . import __version__, contract, credentials
from .addresses import is_local_target
from .credentials import Credentials, Metadata
from .errors import CredentialsError
from .gen.jicofo.reservation.v1 import reservation_pb2 as pb
from .ids import new_incident_id
from .metrics import Metrics
from .settings import Backend

REFRESH_SECONDS = 2.0
"""How often the files are looked at; Kubernetes itself takes up to a minute to swap them."""

TRY_SECONDS = 3.0
"""How long new credentials may take to be answered before they are tried again."""

RETIRE_MARGIN_SECONDS = 1.0

_RETRY_POLICY = {
    "maxAttempts": 5,
    "initialBackoff": "0.1s",
    "maxBackoff": "1s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
"""gRPC's own retries (gRFC A6), within the deadline of the call: some 1.5 s of them. They are safe
because a backend is idempotent by request_id, and for deletions anyway."""

Options = tuple[tuple[str, str | int], ...]

_OPTIONS: Options = (
    ("grpc.primary_user_agent", f"jicofo-reservation-proxy/{__version__}"),
    # After an outage of 10 s gRPC's own back-off (1 s to 120 s) needs 6.2 s, this 0.8 s.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # In spite of its name, how long one attempt to connect may take: enough for TLS over a slow
    # line, and short enough not to hang for gRPC's 20 s on a machine that went away silently.
    ("grpc.min_reconnect_backoff_ms", 3000),
    # A replacement must not be handed the connection that it replaces.
    ("grpc.use_local_subchannel_pool", 1),
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Calls:
    """The three RPCs over one channel, with the metadata that each call carries."""

    create: grpc.UnaryUnaryMultiCallable[pb.CreateConferenceRequest, pb.CreateConferenceResponse]
    get: grpc.UnaryUnaryMultiCallable[pb.GetConferenceRequest, pb.GetConferenceResponse]
    delete: grpc.UnaryUnaryMultiCallable[pb.DeleteConferenceRequest, pb.DeleteConferenceResponse]
    metadata: Metadata


class BackendChannel:
    """The channel to one backend, always with the newest credentials that work.

    Raises `CredentialsError` where the credentials cannot be used at the start. Connecting happens
    in the background.
    """

    def __init__(self, name: str, backend: Backend, metrics: Metrics) -> None:
        self._name = name
        self._key = f"backends.{name}"
        self._backend = backend
        self._metrics = metrics
        self._plugin = credentials.load_plugin(f"{self._key}.auth", backend.auth)
        self._credentials = credentials.load(self._key, backend)
        self._channel = self._dial(self._credentials)
        self._calls = self._bind(self._channel, self._credentials)
        self._retired: list[tuple[grpc.Channel, float]] = []
        self._complaint = ""
        self._lock = threading.Lock()

    @property
    def calls(self) -> Calls:
        """The RPCs over the channel that is now in use."""
        return self._calls

    def refresh(self) -> None:
        """Look at the files, and use what is new in them if it works.

        Anything that is wrong is logged once; the credentials in use stay.
        """
        with self._lock:
            self._close_retired(time.monotonic())
            try:
                found = credentials.load(self._key, self._backend)
                if found != self._credentials:
                    self._use(found)
                    self._metrics.credential_reloads.labels(self._name, "ok").inc()
                self._complaint = ""
            except CredentialsError as error:
                self._complain(str(error))

    def close(self) -> None:
        """Close all channels; calls in flight are cancelled."""
        with self._lock:
            self._close_retired(float("inf"))
            self._channel.close()

    def _use(self, found: Credentials) -> None:
        is_same_channel = found.tls == self._credentials.tls
        channel = self._channel if is_same_channel else self._dial(found)
        calls = self._bind(channel, found)
        try:
            self._prefer(calls)
        except CredentialsError:
            if not is_same_channel:
                channel.close()
            raise
        if not is_same_channel:
            self._retire(self._channel)
        self._channel, self._calls, self._credentials = channel, calls, found
        logger.info("%s: new credentials are in use", self._key)

    def _prefer(self, calls: Calls) -> None:
        """Raise `CredentialsError` where the calls in use are better than these."""
        refusal = _refusal(calls)
        if refusal is None:
            return
        is_about_credentials = refusal.code in _NOT_ALLOWED
        if is_about_credentials and _refusal(self._calls) == refusal:
            return  # perhaps the backend allows nobody to ask this
        raise CredentialsError(
            f"no use of the new credentials: {refusal.code.name} {refusal.detail}"
        )

    def _retire(self, channel: grpc.Channel) -> None:
        lifetime = self._backend.answer_within.total_seconds() + RETIRE_MARGIN_SECONDS
        self._retired.append((channel, time.monotonic() + lifetime))

    def _complain(self, complaint: str) -> None:
        self._metrics.credential_reloads.labels(self._name, "failed").inc()
        if complaint != self._complaint:
            logger.error("%s: %s; the old credentials stay in use", self._key, complaint)
        self._complaint = complaint

    def _close_retired(self, now: float) -> None:
        for channel, until in self._retired:
            if until <= now:
                channel.close()
        self._retired = [entry for entry in self._retired if entry[1] > now]

    def _dial(self, found: Credentials) -> grpc.Channel:
        target, options = self._backend.target, _OPTIONS + self._options()
        channel_credentials = self._channel_credentials(found)
        if channel_credentials is None:
            return grpc.insecure_channel(target, options=options)
        return grpc.secure_channel(target, channel_credentials, options=options)

    def _channel_credentials(self, found: Credentials) -> grpc.ChannelCredentials | None:
        """Return TLS, gRPC's check that a secret stays on this machine, or `None`: plaintext."""
        base: grpc.ChannelCredentials | None = None
        if found.tls is not None:
            base = grpc.ssl_channel_credentials(found.tls.ca, found.tls.key, found.tls.cert)
        elif self._backend.auth.has_secret:
            is_socket_file = self._backend.target.startswith("unix")
            base = grpc.local_channel_credentials(
                grpc.LocalConnectionType.UDS
                if is_socket_file
                else grpc.LocalConnectionType.LOCAL_TCP
            )
        if base is None or self._plugin is None:
            return base
        return grpc.composite_channel_credentials(
            base, grpc.metadata_call_credentials(self._plugin)
        )

    def _options(self) -> Options:
        options: Options = (("grpc.service_config", self._service_config()),)
        if is_local_target(self._backend.target):
            # $http_proxy would take what is meant for this machine, secrets too, to another one.
            options += (("grpc.enable_http_proxy", 0),)
        if self._backend.tls and (name := self._backend.tls.server_name):
            options += (("grpc.ssl_target_name_override", name), ("grpc.default_authority", name))
        return options

    def _service_config(self) -> str:
        """Return gRPC's service config: retries, all addresses in turn, and none that is sick.

        A name service or a control plane (xds) that has a config of its own overrides it.
        """
        config: dict[str, object] = {
            "methodConfig": [{"name": [{}], "retryPolicy": _RETRY_POLICY}],
            "loadBalancingConfig": [{"round_robin": {}}],
        }
        wanted = self._backend.health_check
        if wanted == "on" or (wanted == "auto" and not self._backend.auth.has_secret):
            config["healthCheckConfig"] = {"serviceName": ""}
        return json.dumps(config)

    def _bind(self, channel: grpc.Channel, found: Credentials) -> Calls:
        methods = self._backend.methods
        return Calls(
            create=channel.unary_unary(
                methods.create,
                request_serializer=pb.CreateConferenceRequest.SerializeToString,
                response_deserializer=pb.CreateConferenceResponse.FromString,
            ),
            get=channel.unary_unary(
                methods.get,
                request_serializer=pb.GetConferenceRequest.SerializeToString,
                response_deserializer=pb.GetConferenceResponse.FromString,
            ),
            delete=channel.unary_unary(
                methods.delete,
                request_serializer=pb.DeleteConferenceRequest.SerializeToString,
                response_deserializer=pb.DeleteConferenceResponse.FromString,
            ),
            metadata=found.metadata,
        )


_NOT_REACHED = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
_NOT_ALLOWED = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Why a backend could not be asked; the detail is for people only."""

    code: grpc.StatusCode
    detail: str = field(compare=False)


def _refusal(calls: Calls) -> _Refusal | None:
    """Ask for a conference that does not exist; `None` where the answer shows an open way."""
    try:
        calls.get(
            contract.get_message(contract.PROBE_ID),
            timeout=TRY_SECONDS,
            wait_for_ready=True,
            metadata=((contract.INCIDENT_KEY, new_incident_id()), *calls.metadata),
        )
    except grpc.RpcError as error:
        call = cast("grpc.Call", error)
        if call.code() in _NOT_REACHED | _NOT_ALLOWED:
            return _Refusal(call.code(), call.details() or "")
    return None


class Refresher:
    """The thread that refreshes all channels until it is stopped."""

    def __init__(
        self, channels: Iterable[BackendChannel], every_seconds: float = REFRESH_SECONDS
    ) -> None:
        self._channels = tuple(channels)
        self._every_seconds = every_seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="credentials", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and wait for it, but no longer than it may be trying credentials."""
        self._stopped.set()
        self._thread.join(2 * TRY_SECONDS)

    def _run(self) -> None:
        while not self._stopped.wait(self._every_seconds):
            for channel in self._channels:
                channel.refresh()

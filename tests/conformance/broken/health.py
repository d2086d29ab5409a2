"""Backends that fail the case of health.toml: whether a replica may be asked at all."""

from grpc_health.v1 import health_pb2

from .backend import Backend, fails


@fails({"health": "step 1, health: wanted SERVING, got NOT_SERVING"})
class NeverGetsReady(Backend):
    """It reports its health from a check that nobody set up."""

    health = health_pb2.HealthCheckResponse.NOT_SERVING


@fails(
    {
        "health": "step 1, health: wanted SERVING, got UNIMPLEMENTED ('Method not found!'); "
        "a backend that leaves this out is checked with --without health"
    }
)
class HasNoHealth(Backend):
    """It leaves the service out, which is allowed."""

    health = None

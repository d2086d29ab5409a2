"""Backends that fail the case of health.toml: the health check of a replica."""

from grpc_health.v1 import health_pb2

from .backend import Backend, fails


@fails({"health": "step 1, health: wanted SERVING, got NOT_SERVING"})
class NeverGetsReady(Backend):
    """The backend never sets its health to SERVING."""

    health = health_pb2.HealthCheckResponse.NOT_SERVING


@fails(
    {
        "health": "step 1, health: wanted SERVING, got UNIMPLEMENTED ('Method not found!'); "
        "if the backend does not implement this method, use --without health"
    }
)
class HasNoHealth(Backend):
    """The backend has no health service. This is allowed, but the kit was not told so."""

    health = None

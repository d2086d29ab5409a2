"""gRPC calls that an HTTP server answered in place of a gRPC server.

This module does not import gRPC, so that a proxy with HTTP backends alone does not load it.
"""

from jicofo_reservation_proxy.model import Fault

_HTTP_STATUS = "Received http2 header with status: "
"""gRPC begins the text of a status with these words if it made the status from an HTTP status."""


def is_from_http(fault: Fault) -> bool:
    """Return whether gRPC made the status from an HTTP status, so no gRPC server answered.

    For example, an ingress without a route answers 404, which gRPC reports as UNIMPLEMENTED.
    """
    return fault.detail.startswith(_HTTP_STATUS)

"""`GET /metrics`: the text of Prometheus, or of OpenMetrics if the client accepts it."""

import gzip

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder


def exposed(registry: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    """Return the text of all metrics, and its content type, for a value of `Accept`."""
    encoder, content_type = choose_encoder(accept)
    return encoder(registry), content_type


def compressed(text: bytes, accept_encoding: str) -> tuple[bytes, str]:
    """Return the text, compressed if a value of `Accept-Encoding` allows gzip, and its encoding."""
    codings = (part.partition(";")[0].strip() for part in accept_encoding.lower().split(","))
    return (gzip.compress(text, 1), "gzip") if "gzip" in codings else (text, "")

"""The settings: what there is, where values come from, what they must be."""

from .schema import Auth, Backend, Methods, Route, Settings, Tls

__all__ = ["Auth", "Backend", "Methods", "Route", "Settings", "Tls"]

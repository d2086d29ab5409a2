"""The settings: their definitions, the sources of their values, and their validation."""

from .schema import Auth, Backend, Methods, Route, Settings, Tls

__all__ = ["Auth", "Backend", "Methods", "Route", "Settings", "Tls"]

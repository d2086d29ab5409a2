"""The plugin of an operator that adds credentials to each gRPC call."""

import importlib

import grpc

from jicofo_reservation_proxy.errors import CredentialsError
from jicofo_reservation_proxy.settings.schema import Auth


def load_plugin(key: str, auth: Auth) -> grpc.AuthMetadataPlugin | None:
    """Import the operator's plugin, or return `None` when the setting is absent.

    Raises `CredentialsError` when the import fails or the object is not a plugin.
    """
    if auth.plugin is None:
        return None
    module_name, _, attribute = auth.plugin.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), attribute)
        plugin = found if isinstance(found, grpc.AuthMetadataPlugin) else found()
    except Exception as error:
        raise CredentialsError(f"{key}.plugin: cannot load {auth.plugin!r}: {error!r}") from error
    if not callable(plugin):
        raise CredentialsError(
            f"{key}.plugin: wanted a grpc.AuthMetadataPlugin, got an object of type "
            f"{type(plugin).__name__}"
        )
    return plugin

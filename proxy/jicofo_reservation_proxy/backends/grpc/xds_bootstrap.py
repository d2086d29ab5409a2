"""The bootstrap file of xDS: check it before gRPC reads it.

gRPC reads the file once, when a channel starts. If it cannot, every call on this channel fails,
also after the file appears. So the proxy does not start without a usable file, and whatever
supervises the proxy starts it again.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from jicofo_reservation_proxy.errors import SettingFault, SettingsError

FILE_VARIABLE = "GRPC_XDS_BOOTSTRAP"
"""The environment variable that names the file. It precedes `TEXT_VARIABLE`."""

TEXT_VARIABLE = "GRPC_XDS_BOOTSTRAP_CONFIG"
"""The environment variable that has the content of the file."""


def check_bootstrap(key: str, target: str, environ: Mapping[str, str] = os.environ) -> None:
    """Check that gRPC can find the control plane of a target.

    `key` is the key path of the target. gRPC itself checks the details of the content. Raises
    `SettingsError` if there is no bootstrap file, or if its content is not usable.
    """
    if problem := _problem(environ):
        message = (
            "wanted a bootstrap file with the address of the control plane, because the target is "
            f"{target!r}, got {problem}; write the file, and name it in ${FILE_VARIABLE}"
        )
        raise SettingsError([SettingFault(key, message)])


def _problem(environ: Mapping[str, str]) -> str:
    """Return what is wrong with the bootstrap file, or ""."""
    if (name := environ.get(FILE_VARIABLE)) is not None:
        origin = f"{name} from ${FILE_VARIABLE}"
        if Path(name).exists() and not Path(name).is_file():
            return f"{origin}, which is not a regular file"
        try:
            text = Path(name).read_text("utf-8")
        except OSError as error:
            return f"{origin}, which cannot be read: {error.strerror}"
        except UnicodeDecodeError:
            return f"{origin}, which is not UTF-8"
    elif text := environ.get(TEXT_VARIABLE, ""):
        origin = f"the text of ${TEXT_VARIABLE}"
    else:
        return f"neither ${FILE_VARIABLE} nor ${TEXT_VARIABLE}"
    return _problem_of_content(origin, text)


def _problem_of_content(origin: str, text: str) -> str:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return f"{origin}, which is not JSON"
    servers = content.get("xds_servers") if isinstance(content, dict) else None
    if not (isinstance(servers, list) and servers):
        return f"{origin}, which has no array xds_servers with a server"
    return ""

"""The examples of docs/scaling.md are accepted by gRPC."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from jicofo_reservation_proxy.backends.grpc.xds_bootstrap import check_bootstrap

PAGE = Path(__file__).parents[2] / "docs/scaling.md"
ASK = """\
import grpc
credentials = grpc.xds_channel_credentials(grpc.ssl_channel_credentials())
with grpc.secure_channel("xds:///reservations.example.com", credentials) as channel:
    try:
        channel.unary_unary("/a.B/C")(b"", timeout=0.5)
    except grpc.RpcError as error:
        print(error.details())
"""


def test_grpc_accepts_the_bootstrap_file_of_the_page() -> None:
    """The two parts of the bootstrap file are valid for gRPC."""
    shown = re.findall(r"```json\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert len(shown) == 2
    servers, providers = map(json.loads, shown)
    text = json.dumps(servers | providers)
    check_bootstrap("target", "xds:///x", {"GRPC_XDS_BOOTSTRAP_CONFIG": text})
    environ = os.environ | {"GRPC_XDS_BOOTSTRAP_CONFIG": text}
    environ.pop("GRPC_XDS_BOOTSTRAP", None)
    ended = subprocess.run(
        [sys.executable, "-c", ASK], env=environ, capture_output=True, text=True, check=True
    )
    assert ended.stdout.strip()
    assert "Failed to create XdsClient" not in ended.stdout

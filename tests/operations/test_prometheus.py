"""Prometheus scrapes the proxy, its linter finds nothing, and the alerts fire on scraped data."""

import itertools
import json
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc
import pytest
from jicofo_reservation_proxy.admin.server import admin_listener
from jicofo_reservation_proxy.app import Proxy
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb

from tests.e2e.support import (
    PROSODY,
    TIMEOUT_SECONDS,
    Client,
    Context,
    backends,
    free_port,
    granting_all,
    serving_grpc,
    serving_http,
    settings,
)
from tests.unit.ledgers import eventually

ALERTS = Path(__file__).parents[2] / "monitoring/alerts.yml"
PREFIX = "jicofo_reservation_proxy_"
AGE = f"{PREFIX}oldest_pending_deletion_timestamp_seconds"

pytestmark = pytest.mark.operations


@pytest.fixture(autouse=True, scope="module")
def _tools() -> None:
    """Skip the tests on a machine without Prometheus."""
    for tool in ("prometheus", "promtool"):
        if shutil.which(tool) is None:
            # `make test-operations` checks for it first; plain pytest may run without it.
            pytest.skip(f"there is no {tool}")


@contextmanager
def _stuck_proxy(tmp_path: Path) -> Iterator[str]:
    """Run a proxy whose backend acknowledges no deletion; yield the address of its admin listener.

    One deletion is pending, and each metric has a sample.
    """
    backend = granting_all()

    def refuse(_: pb.DeleteConferenceRequest, context: Context) -> pb.DeleteConferenceResponse:
        context.abort(grpc.StatusCode.INTERNAL, "no")

    backend.delete = refuse
    with ExitStack() as stack:
        target = stack.enter_context(serving_grpc(backend))
        made = settings(
            tmp_path / "state",
            admin_listen="127.0.0.1:0",
            backends=backends(default=target),
            metrics_tenants=["acme"],
        )
        proxy = stack.enter_context(Proxy(made))
        admin = stack.enter_context(admin_listener(proxy, is_configured=True))
        assert admin
        client = Client(stack.enter_context(serving_http(proxy)), PROSODY)
        public_id = client.create("[acme]board").json["id"]
        assert client.delete(public_id).status == 200
        yield admin.url.removeprefix("http://")


def _promtool(*arguments: str, text: str | None = None) -> str:
    """Run promtool; return what it prints. It must find nothing wrong."""
    ended = subprocess.run(
        [shutil.which("promtool") or "promtool", *arguments],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_SECONDS,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


def _fetched(url: str) -> str:
    with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310 - http
        return str(answer.read().decode())


@contextmanager
def _prometheus(tmp_path: Path, target: str) -> Iterator[str]:
    """Run Prometheus, which scrapes this target and has the alerts; yield its URL."""
    config = tmp_path / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
        f"rule_files: [{ALERTS}]\n"
        "scrape_configs:\n"
        "  - job_name: jicofo-reservation-proxy\n"
        f'    static_configs: [{{targets: ["{target}"]}}]\n'
    )
    address = f"127.0.0.1:{free_port()}"
    command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'data'}"]
    command.append(f"--web.listen-address={address}")
    with (tmp_path / "log").open("w") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            yield f"http://{address}"
        finally:
            process.terminate()


def _asked(url: str, query: str) -> list[dict[str, Any]]:
    """Return the result of a query; nothing if Prometheus does not answer yet."""
    try:
        answer = json.loads(_fetched(f"{url}/api/v1/query?query={quote(query)}"))
    except OSError:
        return []
    found: list[dict[str, Any]] = answer["data"]["result"]
    return found


def _until(url: str, query: str) -> list[dict[str, Any]]:
    """Ask Prometheus until a query has a result."""
    found: list[dict[str, Any]] = []

    def has_result() -> bool:
        found[:] = _asked(url, query)
        return bool(found)

    eventually(has_result)
    return found


def test_promtool_finds_nothing_in_the_metrics(tmp_path: Path) -> None:
    """Names, units, types and help texts follow the rules of Prometheus."""
    with _stuck_proxy(tmp_path) as address:
        assert _promtool("check", "metrics", text=_fetched(f"http://{address}/metrics")) == ""


def test_promtool_accepts_the_alerts() -> None:
    """The file of alerts is valid."""
    assert "SUCCESS" in _promtool("check", "rules", str(ALERTS))


def test_every_metric_of_the_alerts_exists(tmp_path: Path) -> None:
    """An alert about a metric that no proxy has would never fire."""
    with _stuck_proxy(tmp_path) as address:
        text = _fetched(f"http://{address}/metrics")
    words = itertools.chain.from_iterable(
        line.split() for line in ALERTS.read_text().splitlines() if "expr:" in line
    )
    names = {word.partition("{")[0] for word in words if word.startswith(PREFIX)}
    assert len(names) >= 6
    assert not {name for name in names if f"# TYPE {name} " not in text}


def test_prometheus_scrapes_the_proxy(tmp_path: Path) -> None:
    """The target is up, in OpenMetrics, and the oldest pending deletion is there with its age."""
    with _stuck_proxy(tmp_path) as address, _prometheus(tmp_path, address) as url:
        (up,) = _until(url, 'up{job="jicofo-reservation-proxy"} == 1')
        assert up["metric"]["instance"] == address
        (age,) = _until(url, f"time() - {AGE}")
        assert age["metric"]["backend"] == "default"
        assert 0 <= float(age["value"][1]) < TIMEOUT_SECONDS
        assert _until(url, f"{PREFIX}pending_deletions == 1")


def test_the_alert_about_old_deletions_fires_on_scraped_data(tmp_path: Path) -> None:
    """What Prometheus has scraped, an hour later: the deletion is too old; a fresh one is not."""
    with _stuck_proxy(tmp_path) as address, _prometheus(tmp_path, address) as url:
        (scraped,) = _until(url, AGE)
        (age,) = _until(url, f"time() - {AGE}")
    labels = {key: value for key, value in scraped["metric"].items() if key != "__name__"}
    series = AGE + "{" + ", ".join(f'{key}="{value}"' for key, value in labels.items()) + "}"
    # `promtool test rules` counts time from the epoch: the deletion is as old then as scraped.
    seconds = int(float(age["value"][1]))
    summary = f"The oldest deletion for the backend default waits for 1h 10m {seconds}s."
    fired = {
        "exp_labels": labels | {"severity": "warning"},
        "exp_annotations": {"summary": summary},
    }
    alert = "ReservationDeletionTooOld"
    tests = {
        "rule_files": [str(ALERTS)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": series, "values": f"{-seconds}x120"}],
                "alert_rule_test": [
                    {"eval_time": "50m", "alertname": alert, "exp_alerts": []},
                    {"eval_time": "70m", "alertname": alert, "exp_alerts": [fired]},
                ],
            }
        ],
    }
    file = tmp_path / "test.yml"
    file.write_text(json.dumps(tests))  # JSON is YAML
    assert "SUCCESS" in _promtool("test", "rules", str(file))

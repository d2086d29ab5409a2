"""Front doors: the credentials of the listeners across a reload."""

from pathlib import Path

import pytest
from jicofo_reservation_proxy.app.front_doors import NONE, FrontDoors
from jicofo_reservation_proxy.errors import CredentialsError
from jicofo_reservation_proxy.http.access_log import AccessLog
from jicofo_reservation_proxy.http.recent_requests import RecentRequests
from jicofo_reservation_proxy.http.refusals import Refusals
from jicofo_reservation_proxy.observability.health import Health
from jicofo_reservation_proxy.observability.metrics import Metrics
from jicofo_reservation_proxy.settings.schema import Settings
from jicofo_reservation_proxy.settings.validation import validate


def front_doors(*, has_listener: bool = True) -> FrontDoors:
    """Return a maker of front doors without traces."""
    metrics = Metrics()
    log = AccessLog(metrics, RecentRequests(), ())
    return FrontDoors(metrics, Health(), Refusals(metrics), log, None, has_listener)


def settings_with(*files: str, folder: Path) -> Settings:
    """Return settings in which each of these keys names a file with a token of its own."""
    for key in files:
        (folder / f"{key}.txt").write_text(f"{key.replace('_', '-')}-0123456789abcdef\n")
    return validate({"state_dir": folder} | {key: folder / f"{key}.txt" for key in files})


def test_unchanged_credentials_are_the_same_objects(tmp_path: Path) -> None:
    """A reload reads only the files whose setting has changed; the others are watched anyway."""
    doors = front_doors()
    both = settings_with("client_token_file", "admin_token_file", folder=tmp_path)
    first = doors.credentials(both, NONE)
    assert first.tokens is not None
    assert first.admin_tokens is not None
    assert doors.credentials(both, first) == first
    second = doors.credentials(settings_with("client_token_file", folder=tmp_path), first)
    assert second.tokens is first.tokens
    assert second.admin_tokens is None


def test_every_fault_of_the_credentials_is_reported(tmp_path: Path) -> None:
    """One error has the faults of all files, so an operator mends them at once."""
    keys = ("client_token_file", "admin_token_file")
    wrong = settings_with(*keys, folder=tmp_path)
    for key in keys:
        (tmp_path / f"{key}.txt").unlink()
    with pytest.raises(CredentialsError) as raised:
        front_doors().credentials(wrong, NONE)
    assert [line.partition(":")[0] for line in str(raised.value).splitlines()] == list(keys)


def test_another_server_needs_no_credentials_of_the_listeners(tmp_path: Path) -> None:
    """Without a listener there is neither TLS nor an admin listener; client tokens still count."""
    both = settings_with("client_token_file", "admin_token_file", folder=tmp_path)
    found = front_doors(has_listener=False).credentials(both, NONE)
    assert (found.tokens is None, found.tls, found.admin_tokens) == (False, None, None)


def test_the_health_of_unused_credentials_is_forgotten(tmp_path: Path) -> None:
    """A setting that was removed is no component of the health any more."""
    doors = front_doors()
    found = doors.credentials(settings_with("client_token_file", folder=tmp_path), NONE)
    assert [state.name for state in doors.health.states()] == ["client_token_file"]
    doors.forget_unused(found)
    assert [state.name for state in doors.health.states()] == ["client_token_file"]
    doors.forget_unused(NONE)
    assert doors.health.states() == []

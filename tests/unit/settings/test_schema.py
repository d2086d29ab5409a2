"""The definitions of the settings: defaults, documentation, and the default state directory."""

import os
from dataclasses import FrozenInstanceError, fields
from datetime import timedelta
from pathlib import Path

import pytest
from jicofo_reservation_proxy.settings.schema import (
    AnswerFields,
    Auth,
    Backend,
    Http,
    Methods,
    PluginPath,
    RequestFields,
    Route,
    SecretFile,
    Settings,
    Target,
    Tls,
    default_state_dir,
)

TABLES = [
    Settings,
    Backend,
    Tls,
    Auth,
    Methods,
    Http,
    RequestFields,
    AnswerFields,
    Route,
]


def test_defaults() -> None:
    """Without any setting, the proxy listens on loopback only and uses the built-in stub."""
    settings = Settings()
    assert settings == Settings(
        listen=settings.listen,
        state_dir=default_state_dir(),
        state="disk",
        client="auto",
        conflicts="answer",
        guest_domains=("guest.*",),
        log_format="text",
        log_level="info",
        backends={},
        routes=(),
    )
    assert settings.listen == "127.0.0.1:7777"
    assert settings.threads == 64
    assert settings.drain_within == timedelta(seconds=20)
    assert settings.respond_within == timedelta(seconds=9)
    assert settings.expire_after == timedelta(minutes=5)
    assert settings.give_up_after == timedelta(days=7)


def test_defaults_of_a_backend() -> None:
    """A backend requires only a target; by default it has no TLS and no secrets."""
    backend = Backend(target=Target("localhost:1"))
    assert backend.answer_within == timedelta(seconds=5)
    assert backend.in_flight == 32
    assert backend.when_unreachable == "refuse"
    assert backend.allow_for == timedelta(hours=1)
    assert backend.health_check == "auto"
    assert backend.tls is None
    assert not backend.auth.has_secret
    assert backend.auth.header == "x-api-key"
    service = "/jicofo.reservation.v1.ReservationService"
    assert backend.methods.create == f"{service}/CreateConference"
    assert backend.methods.get == f"{service}/GetConference"
    assert backend.methods.delete == f"{service}/DeleteConference"
    assert backend.methods.has_default_delete


@pytest.mark.parametrize(
    ("auth", "has_secret"),
    [
        (Auth(), False),
        (Auth(api_key_file=SecretFile(Path("key"))), True),
        (Auth(bearer_token_file=SecretFile(Path("token"))), True),
        (Auth(plugin=PluginPath("acme:auth")), True),
    ],
)
def test_which_credentials_are_secrets(auth: Auth, has_secret: bool) -> None:
    """An API key, a token and a plugin each count as a secret."""
    assert auth.has_secret is has_secret


@pytest.mark.parametrize("table", TABLES)
def test_every_setting_is_documented(table: type[Settings]) -> None:
    """Each setting has at least one sentence of documentation."""
    for setting in fields(table):
        assert setting.metadata["doc"].endswith(".")
    assert table.__doc__


def test_settings_are_immutable() -> None:
    """Settings are immutable."""
    settings = Settings()
    with pytest.raises(FrozenInstanceError):
        settings.client = "jicofo"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("uid", "environ", "state_dir"),
    [
        (0, {}, "/var/lib/jicofo-reservation-proxy"),
        (0, {"XDG_STATE_HOME": "/x"}, "/var/lib/jicofo-reservation-proxy"),
        (0, {"STATE_DIRECTORY": "/var/lib/jrp"}, "/var/lib/jrp"),
        (1000, {"STATE_DIRECTORY": "/var/lib/jrp:/var/lib/other"}, "/var/lib/jrp"),
        (1000, {"XDG_STATE_HOME": "/x"}, "/x/jicofo-reservation-proxy"),
        (1000, {"STATE_DIRECTORY": "/y", "XDG_STATE_HOME": "/x"}, "/y"),
        (1000, {}, "/home/juliet/.local/state/jicofo-reservation-proxy"),
        (
            1000,
            {"STATE_DIRECTORY": "", "XDG_STATE_HOME": ""},
            "/home/juliet/.local/state/jicofo-reservation-proxy",
        ),
    ],
)
def test_the_default_state_directory(
    monkeypatch: pytest.MonkeyPatch, uid: int, environ: dict[str, str], state_dir: str
) -> None:
    """The default is the first directory in $STATE_DIRECTORY, which systemd sets.

    Without it, the default is in /var/lib for root, and in $XDG_STATE_HOME or ~/.local/state for
    other users.
    """
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    monkeypatch.setenv("HOME", "/home/juliet")
    assert default_state_dir(environ) == Path(state_dir)

"""Client tokens: the file, its changes, and what a token may be."""

from pathlib import Path

import pytest
from jicofo_reservation_proxy.credential_files import read_tokens
from jicofo_reservation_proxy.errors import CredentialsError
from jicofo_reservation_proxy.http.client_tokens import ClientTokens
from jicofo_reservation_proxy.observability.metrics import Metrics

OLD = "old-token_0123456789"
NEW = "new.token~0123456789"
RELOADS = "jicofo_reservation_proxy_listener_credential_reloads_total"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a file with one token."""
    file = tmp_path / "tokens"
    file.write_text(f"{OLD}\n")
    file.chmod(0o600)
    return file


def test_each_line_is_a_token(file: Path) -> None:
    """Empty lines and spaces around a token do not count."""
    file.write_text(f"\n  {OLD}  \r\n\n{NEW}")
    tokens = ClientTokens(file, Metrics())
    assert tokens.accepts(OLD)
    assert tokens.accepts(NEW)
    assert read_tokens("x", file) == [OLD.encode(), NEW.encode()]


@pytest.mark.parametrize(
    "text", ["", OLD[:-1], OLD + "x", OLD.upper(), f" {OLD}", "\u20ac", "\x00"]
)
def test_another_text_is_no_token(file: Path, text: str) -> None:
    """A token is compared as a whole."""
    assert not ClientTokens(file, Metrics()).accepts(text)


def test_a_changed_file_is_used(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With both tokens in the file, clients can change from one to the other."""
    caplog.set_level("INFO")
    metrics = Metrics()
    tokens = ClientTokens(file, metrics)
    for content, valid in ((f"{OLD}\n{NEW}\n", {OLD, NEW}), (f"{NEW}\n", {NEW})):
        file.write_text(content)
        tokens.refresh()
        tokens.refresh()
        assert {token for token in (OLD, NEW) if tokens.accepts(token)} == valid
    labels = {"setting": "client_token_file", "result": "ok"}
    assert metrics.registry.get_sample_value(RELOADS, labels) == 2
    assert caplog.messages == ["client_token_file: the files have changed and are in use"] * 2


def test_a_wrong_file_keeps_the_old_tokens(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The log says so once, and not what is in the file."""
    metrics = Metrics()
    tokens = ClientTokens(file, metrics)
    file.write_text("hunter2")
    tokens.refresh()
    tokens.refresh()
    file.unlink()
    tokens.refresh()
    assert tokens.accepts(OLD)
    labels = {"setting": "client_token_file", "result": "failed"}
    assert metrics.registry.get_sample_value(RELOADS, labels) == 3
    assert len(caplog.messages) == 2
    assert all("stays in use" in line for line in caplog.messages)
    assert "hunter2" not in caplog.text
    file.write_text(NEW)
    tokens.refresh()
    assert tokens.accepts(NEW)


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (b"", "got 0"),
        (b"\n \n", "got 0"),
        (b"short", "got another text in line 1"),
        (b"0123456789abcdef\nwith a space in it", "got another text in line 2"),
        (b"0123456789abcdef/", "got another text in line 1"),
        (b"0123456789abcdef\xff", "got another text in line 1"),
        (b"x" * 257, "got another text in line 1"),
        (b"0123456789abcdef\n" * 101, "got 101"),
    ],
)
def test_a_file_without_valid_tokens_is_refused(file: Path, content: bytes, got: str) -> None:
    """The message names the line and says how to make a token; it does not show the line."""
    file.write_bytes(content)
    with pytest.raises(CredentialsError) as caught:
        ClientTokens(file, Metrics())
    message = str(caught.value)
    assert message.startswith("client_token_file: wanted ")
    assert got in message
    assert str(file) in message
    assert "openssl rand -hex 32" in message
    assert "with a space" not in message


def test_a_file_that_all_users_can_read_gives_a_warning(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The tokens are secrets."""
    file.chmod(0o644)
    ClientTokens(file, Metrics())
    assert "all users of this machine can read" in caplog.text

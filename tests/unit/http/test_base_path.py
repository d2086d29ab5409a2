"""The path of the clients' base URL."""

import pytest
from jicofo_reservation_proxy.http.base_path import BasePath, shown, without_double_slashes


@pytest.mark.parametrize(
    ("path", "without"),
    [
        ("/conference", "/conference"),
        ("//conference", "/conference"),
        ("/conference/", "/conference"),
        ("/a//b///c//", "/a/b/c"),
        ("/", "/"),
        ("//", "/"),
        ("", ""),
        ("*", "*"),
    ],
)
def test_double_slashes(path: str, without: str) -> None:
    """A base URL that ends in a slash gives `//conference` (clients.md)."""
    assert without_double_slashes(path) == without


@pytest.mark.parametrize(
    ("prefix", "path", "rest"),
    [
        ("", "/conference", "/conference"),
        ("", "/conference/1", "/conference/1"),
        ("", "/api/v1/conference/1", "/conference/1"),
        ("", "/conference/a/conference/b", "/conference/a/conference/b"),
        ("", "/api/conference", "/conference"),
        ("", "/api", None),
        ("", "/conferences", None),
        ("", "/my-conference/1", None),
        ("", "", None),
        ("/api", "/api/conference/1", "/conference/1"),
        ("/api/", "/api/conference", "/conference"),
        ("/", "/conference", "/conference"),
        ("/api", "/conference", None),
        ("/api", "/apiconference", None),
        ("/api", "/api/v1/conference", None),
        ("/conference", "/conference/conference/1", "/conference/1"),
    ],
)
def test_what_remains_of_a_path(prefix: str, path: str, rest: str | None) -> None:
    """The rest begins with `/conference`; with a prefix, only that prefix may stand before it."""
    assert BasePath(prefix).remove(path) == rest


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/api/v1/conference/null", "/api/v1/conference/null"),
        ("/0123456789abcde/x", "/0123456789abcde/x"),
        ("/0123456789abcdef/x", "/\u2026/x"),
        ("/" + "x" * 1000, "/\u2026"),
    ],
)
def test_a_segment_that_could_be_a_token_is_not_shown(path: str, text: str) -> None:
    """A token has at least 16 characters."""
    assert shown(path) == text

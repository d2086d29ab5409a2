"""Masked names."""

from jicofo_reservation_proxy.admin.masking import HIDDEN, Masking
from jicofo_reservation_proxy.observability.logs import Warned

LINE = Warned(
    1.0,
    "WARNING",
    "lost default.board7",
    {"room": "board", "backend": "default", "detail": "board is closed"},
    "lost %s",
)


def test_names_are_masked_equally() -> None:
    """Equal names have equal codes, other names have others, and no code has the name in it."""
    masking = Masking(is_on=True)
    assert masking.name("board") == masking.name("board") != masking.name("Board")
    assert "board" not in masking.name("board")
    assert masking.name("") == ""
    assert masking.text("board is closed") == HIDDEN


def test_a_masked_line_of_the_log_has_no_name() -> None:
    """Of a masked line, only its template and harmless fields remain."""
    masking = Masking(is_on=True)
    found = masking.warned(LINE)
    assert found == f"lost \N{HORIZONTAL ELLIPSIS} room={masking.name('board')} backend=default"
    assert masking.warned(Warned(1.0, "WARNING", "board", {}, "%s")) == HIDDEN


def test_without_masking_everything_is_shown_in_one_line() -> None:
    """Without masking, texts are shown; line breaks are not."""
    masking = Masking(is_on=False)
    assert masking.name("a\nb") == masking.text("a\nb") == "a b"
    shown = masking.warned(LINE)
    assert shown == "lost default.board7 room=board backend=default detail=board is closed"

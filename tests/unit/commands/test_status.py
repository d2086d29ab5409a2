"""The tables of the command `status`."""

from jicofo_reservation_proxy.commands.status import fitting


def test_a_text_is_cut_to_the_terminal() -> None:
    """The beginning stays, because problems come first; the last line says what is missing."""
    text = "\n".join(f"line {number} is long" for number in range(10))
    assert fitting(text, 6, 5) == "line 0\nline 1\nline 2\n(7 mor"
    assert fitting("short", 80, 24) == "short"

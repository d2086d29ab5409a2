"""Ctrl-C at a certain moment."""

import threading

import pytest


def interrupt_start_of(name: str, monkeypatch: pytest.MonkeyPatch, *, is_running: bool) -> None:
    """Interrupt the next start of a thread of that name, once, before or after it runs."""
    original = threading.Thread.start
    names = [name]

    def start(thread: threading.Thread) -> None:
        is_due = thread.name in names
        if is_due:
            names.remove(thread.name)
        if not is_due or is_running:
            original(thread)
        if is_due:
            raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", start)

"""Ctrl-C at a known moment."""

import threading

import pytest


def interrupt_start_of(name: str, monkeypatch: pytest.MonkeyPatch, *, is_running: bool) -> None:
    """Raise KeyboardInterrupt once, at the next start of a thread with this name.

    `is_running` says whether the thread starts before the interrupt.
    """
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

"""The conformance kit: it plays cases against one backend, and deletes what it made."""

from __future__ import annotations

import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from types import TracebackType
from typing import Self
from uuid import uuid4

from jicofo_reservation_proxy.settings import Backend, Target

from .caller import Caller
from .case import Capability, Case
from .checks import complaint_of_all
from .play import Failure, Play, Skip, Stage
from .result import Result, Verdict

DENIED_ROOM = "conformance-denied"
"""The room that a backend denies, unless another one is named."""


class Kit:
    """Plays cases against one backend, and deletes after each what it made; a context manager.

    `backend` is a gRPC target, or the settings of one (TLS, keys, paths of methods). `without` are
    the capabilities that it leaves out: their cases are skipped. `denied_room` is a room that it
    gives to nobody. `key` is the key path of the backend's settings, for errors.

    Raises `CredentialsError` or `UnreachableError` where no case can be played.
    """

    def __init__(
        self,
        backend: Backend | str,
        *,
        without: Collection[Capability] = (),
        denied_room: str = DENIED_ROOM,
        key: str = "backend",
    ) -> None:
        if isinstance(backend, str):
            backend = Backend(target=Target(backend))
        self._without = frozenset(without)
        self._denied_room = denied_room
        self._run = uuid4().hex[:8]
        self._deletes = True
        self._caller = Caller(backend, key)

    def __enter__(self) -> Self:
        """Reach the backend."""
        with ExitStack() as stack:
            stack.callback(self._caller.close)
            self._caller.reach()
            stack.pop_all()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    @property
    def left(self) -> tuple[str, ...]:
        """The ids of the conferences that were made and are not deleted."""
        return self._caller.made

    def close(self) -> None:
        """Delete what is left, and close."""
        try:
            self._clean_up()
        finally:
            self._caller.close()

    def run(self, case: Case) -> Result:
        """Play a case, and tell whether the backend keeps its sentence."""
        missing = [need for need in case.needs if need in self._without]
        if missing:
            return Result(case, Verdict.SKIPPED, f"the backend is without {' and '.join(missing)}")
        began = time.monotonic()
        verdict, detail = Verdict.PASSED, ""
        try:
            self._play(case)
        except Skip as skip:
            verdict, detail = Verdict.SKIPPED, str(skip)
        except Failure as failure:
            verdict, detail = Verdict.FAILED, str(failure)
        seconds = time.monotonic() - began
        if self._deletes:
            self._clean_up()
            # What a backend does not delete is left to the end, when it is asked once more.
            self._deletes = not self.left
        return Result(case, verdict, detail, seconds)

    def _play(self, case: Case) -> None:
        """Play a case in all its rooms at once; whatever ends this one ends them all."""
        stage = Stage(self._caller, case, self._denied_room)
        plays = [
            Play(stage, number, f"conformance-{self._run}-{case.name}-{number}")
            for number in range(case.rooms)
        ]
        with ThreadPoolExecutor(case.rooms, "conformance") as threads:
            pending = [threads.submit(play.run) for play in plays]
            try:
                answered = [each.result() for each in pending]
            finally:
                stage.stopped.set()
                self._caller.cancel()
        for number, rooms in enumerate(zip(*answered, strict=True), 1):
            step = case.step[number - 1]
            if problem := complaint_of_all(step, rooms):
                raise Failure(f"step {number}, {step.call}: {problem}")

    def _clean_up(self) -> None:
        self._caller.clean_up(can_delete="delete" not in self._without)

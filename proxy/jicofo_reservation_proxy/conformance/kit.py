"""The conformance kit: it plays cases against one backend, and deletes their conferences."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from statistics import median
from types import TracebackType
from typing import Self
from uuid import uuid4

from jicofo_reservation_proxy.errors import SettingFault, SettingsError, UnreachableError
from jicofo_reservation_proxy.settings.addresses import is_http_target
from jicofo_reservation_proxy.settings.schema import Backend, BackendName
from jicofo_reservation_proxy.settings.validation import validate

from .answer import Answer
from .caller import Call, Caller, Request
from .case import Capability, Case, Step
from .checks import complaint_of_all
from .play import Failure, Play, Skip, Stage
from .request import create_messages, delete_message
from .result import Result, Verdict

DENIED_ROOM = "conformance-denied"
"""The room that the backend denies, if the user of the kit names no other room."""


PACE_CALLS = 3
"""The number of undisturbed calls from which the kit measures the pace of the backend."""

PACE_MARGIN_SECONDS = 0.004
"""The extra time that a call may need when other calls run at the same time."""

SILENT_CASES = 3
"""After this number of cases in a row without an answer, the backend counts as unreachable."""

SIGNAL_SECONDS = 0.5
"""The longest wait of the main thread without a pause. Python handles Ctrl-C between two waits: one
that arrives just before a wait, or on another thread, does not interrupt it."""


class Kit:
    """Plays cases against one backend. After each case, it deletes the conferences that it created.

    The kit is a context manager. Only one thread at a time may use it.

    - `backend`: a gRPC target, or the settings of a gRPC backend (TLS, keys, paths of methods)
    - `without`: the capabilities that the backend leaves out; the kit skips the cases that need
      them. The settings `methods.delete = ""` add "delete" to them.
    - `denied_room`: a room that the backend denies to everyone
    - `key`: the key path of the backend's settings, for error messages

    Raises `SettingsError`, `CredentialsError` or `UnreachableError` if no case can be played.
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
            backend = _backend(backend)
        if is_http_target(backend.target):
            raise SettingsError([_not_grpc(key, backend.target)])
        # A backend without the method cannot be asked to delete.
        self._without = frozenset(without) | (set() if backend.methods.delete else {"delete"})
        self._denied_room = denied_room
        self._run = uuid4().hex[:8]
        self._deletes = True
        self._silent_cases = 0
        self._caller = Caller(backend, key)

    def __enter__(self) -> Self:
        """Check that the backend is reachable."""
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
        """Close the kit."""
        self.close()

    @property
    def left(self) -> tuple[str, ...]:
        """The ids of the conferences that the kit created and has not deleted."""
        return self._caller.made

    def close(self) -> None:
        """Delete the remaining conferences, and close the connection."""
        try:
            self._clean_up()
        finally:
            self._caller.close()

    @property
    def lost(self) -> int:
        """The number of requests that got no answer and may have created a conference."""
        return self._caller.lost

    def run(self, case: Case) -> Result:
        """Play a case. Return whether the backend follows the sentence of the case.

        Raises `UnreachableError` if the backend has not answered in `SILENT_CASES` cases in a row.
        """
        missing = [need for need in case.needs if need in self._without]
        if missing:
            return Result(case, Verdict.SKIPPED, f"the backend leaves out {' and '.join(missing)}")
        began, answered = time.monotonic(), self._caller.answered
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
            # If the backend does not delete a conference now, the kit tries again in close().
            self._deletes = not self.left
        self._silent_cases = self._silent_cases + 1 if self._caller.answered == answered else 0
        if self._silent_cases == SILENT_CASES:
            raise UnreachableError(
                f"wanted answers from the backend, got none in {SILENT_CASES} cases in a row; "
                f"check that it is still running. The last case was {case.name}: {detail}"
            )
        return Result(case, verdict, detail, seconds)

    def _play(self, case: Case) -> None:
        pace = self._pace(case) if case.has_moments else {}
        for first in range(0, case.rounds * case.rooms, case.rooms):
            stage = Stage(self._caller, case, self._denied_room, pace)
            self._play_round(
                stage, [f"{self._room(case)}-{first + number}" for number in range(case.rooms)]
            )

    def _play_round(self, stage: Stage, rooms: Sequence[str]) -> None:
        """Play a case in all these rooms at the same time. The first failure ends all plays."""
        plays = [Play(stage, number, room) for number, room in enumerate(rooms)]
        with ThreadPoolExecutor(len(plays), "conformance") as threads:
            pending = [threads.submit(play.run) for play in plays]
            try:
                answered = [_result(each) for each in pending]
            finally:
                stage.stopped.set()
                self._caller.cancel()
        for number, answers in enumerate(zip(*answered, strict=True), 1):
            step = stage.case.step[number - 1]
            if problem := complaint_of_all(step, answers):
                raise Failure(f"step {number}, {step.call}: {problem}")

    def _pace(self, case: Case) -> dict[str, float]:
        """Measure the pace of the backend: create and delete a few conferences one by one.

        Return the seconds for each kind of call: the median plus `PACE_MARGIN_SECONDS`.
        """
        took: dict[str, list[float]] = {"create": [], "delete": []}
        for number in range(PACE_CALLS):
            room = f"{self._room(case)}-pace-{number}"
            create = create_messages(Step(call="create"), room, self._denied_room)
            answer, seconds = self._timed(create[0])
            took["create"].append(seconds)
            if answer.kind != "conference":
                break  # The case itself reports the failure.
            delete = delete_message(answer.conference_id, Step(call="delete"))
            took["delete"].append(self._timed(delete)[1] if "delete" in case.needs else 0.0)
        return {
            call: median(seconds or [0.0]) + PACE_MARGIN_SECONDS for call, seconds in took.items()
        }

    def _timed(self, request: Request) -> tuple[Answer, float]:
        began = time.monotonic()
        (answer,) = self._caller.make([Call(request)])
        return answer, time.monotonic() - began

    def _room(self, case: Case) -> str:
        return f"conformance-{self._run}-{case.name}"

    def _clean_up(self) -> None:
        self._caller.clean_up(can_delete="delete" not in self._without)


def _backend(target: str) -> Backend:
    tree = {"backends": {"target": {"target": target}}, "state": "memory"}
    return validate(tree).backends[BackendName("target")]


def _not_grpc(key: str, target: str) -> SettingFault:
    return SettingFault(
        f"{key}.target",
        "wanted a gRPC target such as 127.0.0.1:50051, because the kit speaks gRPC only, got "
        f"{target!r}; try an HTTP backend with the commands call and simulate "
        "(docs/http-backends.md)",
    )


def _result(play: Future[list[Sequence[Answer]]]) -> list[Sequence[Answer]]:
    """Wait for the answers of a play."""
    while not wait((play,), SIGNAL_SECONDS).done:
        pass
    return play.result()

"""Plays cases on backends: on the broken ones in little time, and all the same every case."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from multiprocessing import get_context

from jicofo_reservation_proxy.conformance import Case, Kit, Result, Verdict, cases
from jicofo_reservation_proxy.conformance.case import Capability
from jicofo_reservation_proxy.settings.schema import Backend as Settings
from jicofo_reservation_proxy.settings.schema import Deadline, Target

from .broken import Backend, serving

CASES = cases()

NEEDS_QUIET = frozenset(
    {
        "one-winner",
        "rooms-in-parallel",
        "repeat-at-once",
        "deadline",
        "cancel",
        "delete-given-up",
        "delete-too-late",
    }
)
"""Cases whose calls must reach the backend together, or some milliseconds after they are begun."""

WAITS = frozenset({"over"})
"""Cases that do nothing for most of their time."""

PROCESSES = 1 + (os.cpu_count() or 1)
"""One more than can be busy, as some wait."""

WAITING_AT_ONCE = 20

TRIES = 5
"""How often what needs quiet is played until it fails: on a busy machine, calls may come late."""

FEW_ROOMS = 2
"""In how many rooms a case is played, at most, on a backend that must pass it."""

SOON_SECONDS = 0.05
"""How long calls are repeated there, to see that nothing changes."""

PATIENCE = Deadline(timedelta(seconds=15))
"""A busy machine is no fault of a backend."""

Broken = type[Backend]


def play(
    backend: Backend, played: Sequence[Case], without: Sequence[Capability] = ()
) -> list[Result]:
    """Return the results of the cases, played one after the other."""
    with serving(backend) as target:
        settings = Settings(target=Target(target), answer_within=PATIENCE)
        with Kit(settings, without=without) as kit:
            return [kit.run(case) for case in played]


def play_on_each(backends: Sequence[Broken]) -> Mapping[Broken, Sequence[Result]]:
    """Return the results of all cases on each of the backends.

    What needs quiet and must fail comes first, alone. The rest is played in several processes, as
    Python's threads share one core, while this one waits for what waits.
    """
    quiet = [_in_quiet(backend) for backend in backends]
    with (
        ProcessPoolExecutor(PROCESSES, get_context("spawn")) as processes,
        ThreadPoolExecutor(WAITING_AT_ONCE) as threads,
    ):
        busy = processes.map(_busy, backends)
        waiting = threads.map(_waiting, backends)
        results = [
            [*one, *two, *three] for one, two, three in zip(quiet, busy, waiting, strict=True)
        ]
    return dict(zip(backends, results, strict=True))


def _in_quiet(backend: Broken) -> list[Result]:
    names = backend.failures.keys() & NEEDS_QUIET
    return [_until_it_fails(backend, case) for case in CASES if case.name in names]


def _until_it_fails(backend: Broken, case: Case, tries: int = TRIES) -> Result:
    (result,) = play(backend(), [case])
    if result.verdict is Verdict.FAILED or tries == 1:
        return result
    return _until_it_fails(backend, case, tries - 1)


def _waiting(backend: Broken) -> list[Result]:
    return play(backend(), [case for case in CASES if case.name in WAITS])


def _busy(backend: Broken) -> list[Result]:
    """Play all others: those that must fail as they are, and small ones of the rest."""
    elsewhere = WAITS | (backend.failures.keys() & NEEDS_QUIET)
    others = [case for case in CASES if case.name not in elsewhere]
    return play(
        backend(), [case if case.name in backend.failures else _small(case) for case in others]
    )


def _small(case: Case) -> Case:
    """Return a case in few rooms, with little repetition."""
    steps = (replace(step, for_seconds=min(step.for_seconds, SOON_SECONDS)) for step in case.step)
    return replace(case, step=tuple(steps), rooms=min(case.rooms, FEW_ROOMS))

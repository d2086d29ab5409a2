"""Plays all cases against the broken backends, in little time."""

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
        "holder-at-once",
    }
)
"""Cases that need a quiet machine. Their calls must reach the backend at the same time, or end a
few milliseconds after their start."""

WAITS = frozenset({"over", "holder-over"})
"""Cases that wait for most of their time."""

PROCESSES = 1 + (os.cpu_count() or 1)
"""One more process than the machine has cores, because some processes wait."""

WAITING_AT_ONCE = 20
"""The number of backends on which the cases in `WAITS` are played at the same time."""

TRIES = 5
"""How often a case in `NEEDS_QUIET` is played at most until it fails: calls may be late."""

FEW_ROUNDS = 3
"""The maximum number of rounds of a case on a backend that must pass the case."""

FEW_ROOMS = 2
"""The maximum number of rooms of a case on a backend that must pass the case."""

SOON_SECONDS = 0.05
"""How long a step is repeated on a backend that must pass the case."""

PATIENCE = Deadline(timedelta(seconds=15))
"""The deadline of ordinary calls, long enough for a busy machine."""

Broken = type[Backend]


def play(
    backend: Backend, played: Sequence[Case], without: Sequence[Capability] = ()
) -> list[Result]:
    """Play the cases one after the other, and return the results."""
    with serving(backend) as target:
        settings = Settings(target=Target(target), answer_within=PATIENCE)
        with Kit(settings, without=without) as kit:
            return [kit.run(case) for case in played]


def play_on_each(backends: Sequence[Broken]) -> Mapping[Broken, Sequence[Result]]:
    """Play all cases on each of the backends, and return the results.

    The cases that need a quiet machine and must fail come first, one at a time. Then several
    processes play the other cases, because the threads of one Python process share one core. At the
    same time, threads of this process play the cases in `WAITS`.
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
    """Play all other cases: unchanged if the case must fail, otherwise in a small form."""
    elsewhere = WAITS | (backend.failures.keys() & NEEDS_QUIET)
    others = [case for case in CASES if case.name not in elsewhere]
    return play(
        backend(), [case if case.name in backend.failures else _small(case) for case in others]
    )


def _small(case: Case) -> Case:
    """Return the case with few rooms and short repetitions."""
    steps = (replace(step, for_seconds=min(step.for_seconds, SOON_SECONDS)) for step in case.step)
    return replace(
        case,
        step=tuple(steps),
        rooms=min(case.rooms, FEW_ROOMS),
        rounds=min(case.rounds, FEW_ROUNDS),
    )

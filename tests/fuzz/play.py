"""Play streams against a running proxy, and judge what comes back."""

import random
from collections import Counter
from collections.abc import Iterable

from .client import send
from .oracle import WrongAnswerError, is_answer_due, judge
from .streams import Stream, stream


def play(port: int, played: Stream) -> Counter[int]:
    """Play one stream; return the number of answers of each status. Raises `WrongAnswerError`."""
    try:
        received = send(port, played)
    except TimeoutError:
        raise WrongAnswerError("the connection stays open") from None
    except ConnectionError as error:
        if is_answer_due(played.data):
            raise WrongAnswerError(f"the connection is reset: {error}") from None
        return Counter()
    return Counter() if received is None else Counter(judge(played.data, received))


def play_random(port: int, seeds: Iterable[int]) -> Counter[int]:
    """Play one random stream for each seed. Raises `WrongAnswerError`, which names the seed."""
    statuses: Counter[int] = Counter()
    for seed in seeds:
        played = stream(random.Random(seed))  # noqa: S311 - a repeatable stream, no secret
        try:
            statuses += play(port, played)
        except WrongAnswerError as error:
            pieces = [piece[:2000] for piece in played.pieces]
            raise WrongAnswerError(f"stream {seed}, {pieces!r}: {error}") from error
    return statuses

"""The search: it visits every state that the model can reach, and checks the properties."""

import time
from collections import deque
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from . import backend, proxy
from .rules import Rule
from .state import Kind, State

LIVE = "a live meeting was ended"
HELD = "a room is held by nobody"
BEYOND = "a conference goes on after its end"

Step = tuple[str, State]


@dataclass(frozen=True)
class Verdict:
    """What a search found: the violated property, or "", and the steps that lead to it."""

    violation: str
    steps: tuple[str, ...]
    states: int
    seconds: float


def search(
    start: State, owners: tuple[int, ...], without: AbstractSet[Rule] = frozenset()
) -> Verdict:
    """Visit all states breadth-first, so that the first violation has the fewest steps."""
    began = time.monotonic()
    seen: dict[State, tuple[State | None, str]] = {start: (None, "")}
    waiting = deque([start])
    while waiting:
        state = waiting.popleft()
        for name, following in _steps(state, owners, without):
            if following in seen:
                continue
            seen[following] = (state, name)
            if violation := _violation(following, without):
                return _verdict(violation, following, seen, began)
            waiting.append(following)
    return Verdict("", (), len(seen), time.monotonic() - began)


def _verdict(
    violation: str, state: State, seen: dict[State, tuple[State | None, str]], began: float
) -> Verdict:
    steps = []
    at: State | None = state
    while at is not None:
        at, name = seen[at]
        steps.append(name)
    return Verdict(violation, tuple(reversed(steps[:-1])), len(seen), time.monotonic() - began)


def _violation(state: State, without: AbstractSet[Rule]) -> str:
    room = state.conference.id if state.conference else 0
    if any(one.meeting and one.meeting.conference != room for one in state.clients):
        return LIVE
    if backend.reach_the_end(state, without).conference:
        return BEYOND
    if room and not state.is_crashed and _is_quiet(state):
        return HELD
    return ""


def _is_quiet(state: State) -> bool:
    """Return whether nobody is in a meeting, and nobody has anything left to do."""
    return (
        not state.calls
        and not state.answers
        and not any(one.meeting or one.is_waiting or one.deletes for one in state.clients)
        and not any(one.call or one.unsent or one.sent or one.withdrawals for one in state.proxies)
    )


def _steps(state: State, owners: tuple[int, ...], without: AbstractSet[Rule]) -> Iterator[Step]:
    for index in range(len(state.proxies)):
        yield from _client_steps(state, index, owners, without)
        yield from _proxy_steps(state, index, without)
        yield from _failures(state, index, without)
    yield from _network_steps(state, without)


def _client_steps(
    state: State, index: int, owners: tuple[int, ...], without: AbstractSet[Rule]
) -> Iterator[Step]:
    client, left = state.clients[index], state.left
    who = f"{client.kind.name.lower()} {index}"
    is_idle = not client.meeting and not client.is_waiting
    if is_idle and left.posts and not state.proxies[index].call:
        after = state._replace(left=left._replace(posts=left.posts - 1))
        for owner in owners:
            # A request has one owner. Two proxies may get the same request.
            for request in (owner, 10 + left.posts):
                name = f"{who}: POST, request {request}, owner {owner}"
                yield name, proxy.post(after, index, request, owner, without)
    if client.meeting:
        copy = proxy.ending(state, index, client.meeting)
        ended = client._replace(meeting=None, deletes=client.deletes | {copy})
        name = f"{who}: leaves conference {copy.conference}"
        yield name, proxy.put(state, index, state.proxies[index], ended)
    for copy in client.deletes:
        name = f"{who}: DELETE {copy.conference}, grant {copy.hold}"
        after = proxy.delete(state, index, copy, without)
        yield name, after
        if left.repeats and client.kind is Kind.PROSODY:
            again = after.clients[index]
            again = again._replace(deletes=again.deletes | {copy})
            after = proxy.put(after, index, after.proxies[index], again)
            yield f"{name}, repeated", after._replace(left=left._replace(repeats=left.repeats - 1))


def _proxy_steps(state: State, index: int, without: AbstractSet[Rule]) -> Iterator[Step]:
    call = state.proxies[index].call
    if call is None:
        for after in proxy.deliveries(state, index, without):
            sent = after.proxies[index].call
            yield f"proxy {index}: sends {sent}", after
        return
    for answer in state.answers:
        if answer.call != call:
            continue
        after = proxy.answered(state, index, answer, without, is_told=True)
        yield f"proxy {index}: gets {answer}", after
        if call.request and state.left.untold:
            after = proxy.answered(state, index, answer, without, is_told=False)
            left = state.left._replace(untold=state.left.untold - 1)
            yield f"proxy {index}: gets {answer}, its client is gone", after._replace(left=left)


def _failures(state: State, index: int, without: AbstractSet[Rule]) -> Iterator[Step]:
    left = state.left
    if left.timeouts:
        before = state._replace(left=left._replace(timeouts=left.timeouts - 1))
        call = state.proxies[index].call
        for after in proxy.timed_out(before, index, without):
            yield f"proxy {index}: gives up {call}", after
            yield f"proxy {index}: {call} is lost", after._replace(calls=after.calls - {call})
    if left.crashes:
        before = state._replace(left=left._replace(crashes=left.crashes - 1))
        yield f"proxy {index}: is killed", proxy.restarted(before, index, without, keeps_grant=True)
        after = proxy.restarted(before, index, without, keeps_grant=False)
        yield f"proxy {index}: is killed, its grant is lost", after
    if left.renewals:
        before = state._replace(left=left._replace(renewals=left.renewals - 1))
        yield f"proxy {index}: is killed, its ledger is lost", proxy.renewed(before, index, without)


def _network_steps(state: State, without: AbstractSet[Rule]) -> Iterator[Step]:
    for call in state.calls:
        after, answer = backend.execute(state, call, without)
        waits = state.proxies[call.proxy].call == call
        if waits:
            after = after._replace(answers=after.answers | {answer})
        yield f"backend: {call}", after._replace(calls=state.calls - {call})

"""The rules of a proxy: what it does with a request of its client, and with an answer."""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from typing import TypeVar

from .rules import Rule
from .state import NOBODY, ROOM, Answer, Call, Client, Grant, Kind, Proxy, State

CALLS = 100
"""More than the calls that a proxy makes between two starts."""

T = TypeVar("T")


def put(state: State, index: int, proxy: Proxy, client: Client | None = None) -> State:
    """Return the state with another proxy and client at this index."""
    state = state._replace(proxies=_at(state.proxies, index, proxy))
    return state if client is None else state._replace(clients=_at(state.clients, index, client))


def post(state: State, index: int, request: int, owner: int, without: AbstractSet[Rule]) -> State:
    """Ask the backend for the room; the client waits."""
    client, proxy = state.clients[index], state.proxies[index]
    state = put(state, index, proxy, client._replace(is_waiting=True))
    hold = CALLS * proxy.starts if Rule.NEW_HOLD in without else _hold(proxy)
    return _send(state, index, Call(index, 0, proxy.holder, hold, request, owner))


def delete(state: State, index: int, copy: Grant, without: AbstractSet[Rule]) -> State:
    """Record that the client ended a meeting, unless the DELETE is void."""
    proxy, client = state.proxies[index], state.clients[index]
    client = client._replace(deletes=client.deletes - {copy})
    known = proxy.open
    if known is None or known.conference != copy.conference:
        is_known = any(copy.conference == one.conference for one in proxy.unsent | proxy.sent)
        sent = proxy.sent if is_known else proxy.sent | {copy}
        return put(state, index, proxy._replace(sent=sent), client)
    if copy.hold < known.hold and Rule.ID_NAMES_THE_GRANT not in without:
        return put(state, index, proxy, client)
    ended = known._replace(hold=max(known.hold, copy.hold))
    proxy = _without(proxy, known.conference)
    return put(state, index, proxy._replace(open=None, unsent=proxy.unsent | {ended}), client)


def deliveries(state: State, index: int, without: AbstractSet[Rule]) -> Iterator[State]:
    """Yield the states after the proxy has sent a pending deletion or a withdrawal."""
    proxy = state.proxies[index]
    for ended in proxy.unsent | proxy.sent:
        yield _send_deletion(state, index, ended, without)
    if not proxy.withdrawals or (proxy.open and Rule.NO_WITHDRAWAL_WHILE_OPEN not in without):
        return
    # The last withdrawal is ten minutes after the create: no create arrives so late.
    is_late = proxy.withdrawals == 1 and Rule.WITHDRAW_ONCE_MORE not in without
    if not is_late or not any(call.proxy == index and call.request for call in state.calls):
        is_new = Rule.WITHDRAWAL_HAS_THE_HOLD_OF_ITS_CREATE in without
        hold = _hold(proxy) if is_new else proxy.unanswered
        if Rule.WITHDRAWAL_IS_UNCERTAIN not in without:
            proxy = proxy._replace(sent=proxy.sent | proxy.unsent, unsent=frozenset())
            state = put(state, index, proxy)
        yield _send(state, index, Call(index, 0, proxy.holder, hold))


def answered(
    state: State, index: int, answer: Answer, without: AbstractSet[Rule], *, is_told: bool
) -> State:
    """Return the state after an answer; `is_told` is false if the client has gone."""
    proxy, client = state.proxies[index], state.clients[index]
    call = answer.call
    proxy = proxy._replace(call=None)
    state = state._replace(answers=state.answers - {answer})
    if not call.request:
        return put(state, index, _acknowledged(proxy, call))
    is_other = client.kind is Kind.JICOFO and answer.owner != call.owner
    if is_told and not (is_other and not answer.is_granted):
        return _grant(state, index, proxy, Grant(answer.conference, call.hold), without)
    rule = Rule.WITHDRAW_REFUSED if is_told else Rule.WITHDRAW_UNTOLD
    if rule not in without:
        proxy = _note(proxy, call, without)
    return put(state, index, proxy, client._replace(is_waiting=False))


def timed_out(state: State, index: int, without: AbstractSet[Rule]) -> Iterator[State]:
    """Yield the states after the deadline of the proxy's call has passed."""
    proxy, client = state.proxies[index], state.clients[index]
    call = proxy.call
    if call is None:
        return
    proxy = proxy._replace(call=None)
    state = state._replace(answers=frozenset(a for a in state.answers if a.call != call))
    if not call.request:
        yield put(state, index, proxy)
        return
    if Rule.WITHDRAW_UNANSWERED not in without:
        proxy = _note(proxy, call, without)
    yield put(state, index, proxy, client._replace(is_waiting=False))
    # The room continues under its old conference if its deletion was never sent.
    if client.kind is Kind.PROSODY and proxy.open is None:
        for ended in proxy.unsent:
            yield _grant(state, index, proxy, ended._replace(hold=call.hold), without)


def restarted(state: State, index: int, without: AbstractSet[Rule], *, keeps_grant: bool) -> State:
    """Return the state after `kill -9` and a new start; the newest grant may be lost."""
    proxy = state.proxies[index]
    starts = proxy.starts if Rule.DURABLE_STARTS in without else proxy.starts + 1
    new = proxy._replace(
        starts=starts,
        calls=0,
        open=proxy.open if keeps_grant or proxy.is_durable else None,
        is_durable=True,
        sent=proxy.sent | proxy.unsent,
        unsent=frozenset(),
    )
    return _crashed(state, index, new)


def renewed(state: State, index: int, without: AbstractSet[Rule]) -> State:
    """Return the state after `kill -9` and a new start with an empty ledger."""
    is_greater = Rule.NEW_LEDGER_HAS_GREATER_HOLDS not in without
    starts = state.proxies[index].starts + 1 if is_greater else 1
    state = state._replace(last_holder=state.last_holder + 1)
    return _crashed(state, index, Proxy(state.last_holder, starts))


def ending(state: State, index: int, meeting: Grant) -> Grant:
    """Return the DELETE of a client: the conference, and the newest grant that it may end.

    Jicofo's numbers do not name a grant. Jicofo sends one request at a time, so its DELETE may end
    every grant that was answered before it arrived.
    """
    is_prosody = state.clients[index].kind is Kind.PROSODY
    newest = meeting.hold if is_prosody else _hold(state.proxies[index]) - 1
    return Grant(meeting.conference, newest, is_old=not meeting.hold)


def _crashed(state: State, index: int, proxy: Proxy) -> State:
    client, call = state.clients[index], state.proxies[index].call
    answers = frozenset(answer for answer in state.answers if answer.call != call)
    state = state._replace(answers=answers, is_crashed=True)
    return put(state, index, proxy._replace(call=None), client._replace(is_waiting=False))


def _grant(
    state: State, index: int, proxy: Proxy, given: Grant, without: AbstractSet[Rule]
) -> State:
    """Give a conference to the client, which calls off its pending deletion."""
    known = proxy.unsent | proxy.sent | ({proxy.open} if proxy.open else set())
    before = [one for one in known if one.conference == given.conference]
    given = given._replace(is_old=any(one.is_old for one in before))
    is_durable = bool(before) and Rule.GRANT_AFTER_DELETE_IS_DURABLE not in without
    if Rule.OPEN_CANCELS_A_DELETION not in without:
        proxy = _without(proxy, given.conference)
    client = state.clients[index]._replace(is_waiting=False, meeting=given)
    return put(state, index, proxy._replace(open=given, is_durable=is_durable), client)


def _acknowledged(proxy: Proxy, call: Call) -> Proxy:
    """Remove a pending deletion, or count down the withdrawals."""
    if call.conference == ROOM:
        withdrawals = max(0, proxy.withdrawals - 1)
        return proxy._replace(
            withdrawals=withdrawals, unanswered=proxy.unanswered if withdrawals else 0
        )
    found = [one for one in proxy.unsent | proxy.sent if one.conference == call.conference]
    proxy = _without(proxy, call.conference)
    left = frozenset(
        one._replace(is_old=False) for one in found if call.holder == NOBODY and one.hold
    )
    return proxy._replace(sent=proxy.sent | left)


def _without(proxy: Proxy, conference: int) -> Proxy:
    unsent, sent = (
        frozenset(one for one in pending if one.conference != conference)
        for pending in (proxy.unsent, proxy.sent)
    )
    return proxy._replace(unsent=unsent, sent=sent)


def _note(proxy: Proxy, call: Call, without: AbstractSet[Rule]) -> Proxy:
    times = 1 + (Rule.WITHDRAW_ONCE_MORE not in without)
    return proxy._replace(withdrawals=times, unanswered=call.hold)


def _send_deletion(state: State, index: int, ended: Grant, without: AbstractSet[Rule]) -> State:
    """Send a deletion; a conference with an old grant is deleted without holder first."""
    proxy = state.proxies[index]
    proxy = proxy._replace(unsent=proxy.unsent - {ended}, sent=proxy.sent | {ended})
    is_new = Rule.DELETION_HAS_THE_HOLD_OF_ITS_GRANT in without
    hold = _hold(proxy) if is_new else ended.hold
    holder, hold = (NOBODY, 0) if ended.is_old else (proxy.holder, hold)
    call = Call(index, 0, holder, hold, conference=ended.conference)
    return _send(put(state, index, proxy), index, call)


def _hold(proxy: Proxy) -> int:
    """Return the next hold, which is greater than all holds before it."""
    return CALLS * proxy.starts + proxy.calls + 1


def _send(state: State, index: int, call: Call) -> State:
    """Send a call to the backend under the lock of the room."""
    proxy = state.proxies[index]
    call = call._replace(number=CALLS * proxy.starts + proxy.calls)
    state = put(state, index, proxy._replace(calls=proxy.calls + 1, call=call))
    return state._replace(calls=state.calls | {call})


def _at(values: tuple[T, ...], index: int, value: T) -> tuple[T, ...]:
    return (*values[:index], value, *values[index + 1 :])

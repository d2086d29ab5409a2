"""The rules of the backend: what it does with a call (reservation.proto)."""

from collections.abc import Set as AbstractSet

from .rules import Rule
from .state import NOBODY, ROOM, Answer, Call, Conference, State


def execute(state: State, call: Call, without: AbstractSet[Rule]) -> tuple[State, Answer]:
    """Carry out a call in one transaction; return the new state and the answer."""
    if Rule.ROW_PER_HOLDER in without:
        call = call._replace(holder=NOBODY)
    return (_create if call.request else _delete)(state, call, without)


def reach_the_end(state: State, without: AbstractSet[Rule]) -> State:
    """Return the state after the end of the conference has passed."""
    known = state.conference
    if known and known.rows and Rule.ROWS_DO_NOT_OUTLIVE_THE_END in without:
        return state
    return state._replace(conference=None)


def _create(state: State, call: Call, without: AbstractSet[Rule]) -> tuple[State, Answer]:
    known = state.conference
    if known is None:
        rows = frozenset({(call.holder, call.hold)})
        new = Conference(state.last_id + 1, call.request, call.owner, rows)
        return state._replace(conference=new, last_id=new.id), Answer(call, new.id, new.owner)
    is_repeat = known.request == call.request
    answer = Answer(call, known.id, known.owner, is_granted=is_repeat)
    rule = Rule.RAISE_ON_REPEAT if is_repeat else Rule.RAISE_ON_CONFLICT
    if rule not in without:
        holds = dict(known.rows)
        holds[call.holder] = max(call.hold, holds.get(call.holder, 0))
        state = state._replace(conference=known._replace(rows=frozenset(holds.items())))
    return state, answer


def _delete(state: State, call: Call, without: AbstractSet[Rule]) -> tuple[State, Answer]:
    known, answer = state.conference, Answer(call)
    is_withdrawal = call.conference == ROOM
    if known is None or (is_withdrawal and Rule.BY_ROOM in without):
        return state, answer
    if not is_withdrawal and call.conference != known.id:
        return state, answer
    holds = dict(known.rows)
    is_newer = holds.get(call.holder, 0) > call.hold and Rule.COMPARE_HOLDS not in without
    if call.holder not in holds or is_newer:
        return state, answer
    del holds[call.holder]
    if Rule.EMPTY_HOLDER_HAS_A_ROW in without:
        holds.pop(NOBODY, None)
    left = known._replace(rows=frozenset(holds.items()))
    is_over = not holds and Rule.LAST_ROW_ENDS not in without
    return state._replace(conference=None if is_over else left), answer

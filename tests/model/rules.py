"""The rules of the protocol. The search takes each rule out, and must then find a violation."""

import enum


class Rule(enum.Enum):
    """One rule of the contract or of the proxy; the value is the rule in one sentence."""

    ROW_PER_HOLDER = "The backend keeps one row for each conference and holder."
    RAISE_ON_REPEAT = "A repeated request_id raises the row of its holder, also of another holder."
    RAISE_ON_CONFLICT = "A conflict raises the row of the holder that asks."
    COMPARE_HOLDS = "A deletion removes a row only if the hold of the row is not greater."
    LAST_ROW_ENDS = "A deletion that removes the last row ends the conference."
    BY_ROOM = "A deletion without conference_id is for the conference that has the room."
    EMPTY_HOLDER_HAS_A_ROW = "A conference from before has the row of the empty holder."
    ROWS_DO_NOT_OUTLIVE_THE_END = "A conference ends at its end, whatever rows it has."
    NEW_HOLD = "Each create has a new hold, greater than all holds before it."
    DURABLE_STARTS = "A restarted proxy has greater holds than before."
    NEW_LEDGER_HAS_GREATER_HOLDS = "A new ledger has greater holds than the ledger before it."
    DELETION_HAS_THE_HOLD_OF_ITS_GRANT = "A deletion has the hold of the grant that it ends."
    WITHDRAWAL_HAS_THE_HOLD_OF_ITS_CREATE = "A withdrawal has the hold of the newest such create."
    ID_NAMES_THE_GRANT = "A DELETE for an earlier grant is void."
    OPEN_CANCELS_A_DELETION = "The proxy sends no deletion of a conference that a client has."
    WITHDRAW_UNANSWERED = "The proxy withdraws a create that got no answer."
    WITHDRAW_UNTOLD = "The proxy withdraws a grant that no client was told."
    WITHDRAW_REFUSED = "The proxy withdraws a create whose conference the client may not have."
    WITHDRAW_ONCE_MORE = "The proxy withdraws once more, when no old create can still arrive."
    WITHDRAWAL_IS_UNCERTAIN = "After a withdrawal, no room continues under an old conference."
    GRANT_AFTER_DELETE_IS_DURABLE = "A grant that calls off a deletion is on the disk first."
    NO_WITHDRAWAL_WHILE_OPEN = "The proxy withdraws nothing while the room has an open conference."

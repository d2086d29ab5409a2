"""Numeric ids: Jicofo knows conferences by number, its backend's own or an alias in the ledger.

Prosody takes strings, which say all by themselves (ids.py has all forms).
"""

from collections.abc import Collection

from jicofo_reservation_proxy import ids
from jicofo_reservation_proxy.ledger.ledger import Aliases
from jicofo_reservation_proxy.model import ConferenceRef, Dialect, PublicId


class NumericIds:
    """The ids that clients are given, and give back: numbers for those who take nothing else.

    `backends` are the names of the backends there are. All methods raise `StateError`.
    """

    def __init__(self, aliases: Aliases, backends: Collection[str]) -> None:
        self._aliases = aliases
        self._backends = backends
        self._number_owner = _number_owner(aliases, backends)

    def of(self, dialect: Dialect, ref: ConferenceRef) -> PublicId:
        """Return what a client will know a conference by."""
        if not dialect.numeric_ids:
            return ids.encode(ref)
        is_plain = len(self._backends) == 1 and not ref.is_fallback
        number = ids.own_number(ref.conference_id) if is_plain else None
        return number if number is not None else self._aliases.alias(ref)

    def ref(self, public_id: str) -> ConferenceRef | None:
        """Return the conference that a client's id leads to, or `None` where it leads nowhere."""
        found = ids.decode(public_id)
        if isinstance(found, ids.Number):
            found = self._ref_of_number(found)
        is_ours = found and found.conference_id and found.backend in self._backends
        return found if is_ours else None

    def _ref_of_number(self, number: ids.Number) -> ConferenceRef | None:
        if number.is_alias:
            return self._aliases.resolve(number.value)
        return ConferenceRef(self._number_owner, str(number.value)) if self._number_owner else None


def _number_owner(aliases: Aliases, backends: Collection[str]) -> str | None:
    """Return the backend that numbers of its own lead to: the only one, else the last only one.

    Raises `StateError` where a change of it cannot be kept.
    """
    known = aliases.number_owner
    if len(backends) != 1:
        return known
    only = next(iter(backends))
    if only != known:
        aliases.set_number_owner(only)
    return only

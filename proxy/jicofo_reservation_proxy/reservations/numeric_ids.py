"""Numeric ids: Jicofo knows a conference by a number.

The number is the backend's own id if that is usable, otherwise an alias from the ledger. Prosody
accepts strings, which contain the backend and the conference id (ids.py lists all forms).
"""

from collections.abc import Callable, Collection

from jicofo_reservation_proxy import ids
from jicofo_reservation_proxy.ledger.ledger import Aliases
from jicofo_reservation_proxy.model import ConferenceRef, Dialect, PublicId


class NumericIds:
    """Converts conferences to the ids that clients get, and ids from clients back to conferences.

    A client that accepts only numbers gets a number. `backends` are the names of all backends; they
    may change at any time. The backend to which the numbers that are not aliases belong does not
    change: an old number must never lead to another backend. `has_conferences` says whether the
    proxy still has conferences or deletions of a backend. The constructor and all methods raise
    `StateError`.
    """

    def __init__(
        self,
        aliases: Aliases,
        backends: Collection[str],
        has_conferences: Callable[[str], bool] = lambda _name: False,
    ) -> None:
        self._aliases = aliases
        self._backends = backends
        self._number_owner = _number_owner(aliases, backends, has_conferences)

    def of(
        self, dialect: Dialect, ref: ConferenceRef, hold: int, within_seconds: float
    ) -> PublicId:
        """Return the id by which a client will know a conference, within this time.

        A string id also names the grant, by the number of its hold. A number does not.
        """
        if not dialect.numeric_ids:
            return ids.encode(ref, hold)
        number = ids.own_number(ref.conference_id) if self._is_plain(ref) else None
        return number if number is not None else self._aliases.alias(ref, within_seconds)

    def _is_plain(self, ref: ConferenceRef) -> bool:
        """Return whether the own number of a conference can lead to no other backend."""
        is_only = len(self._backends) == 1 and ref.backend == self._number_owner
        return is_only and not ref.is_fallback

    def named(self, public_id: str) -> ids.Named | None:
        """Return the conference that a client's id stands for; `None` if the id is unknown."""
        found = ids.decode(public_id)
        if isinstance(found, ids.Number):
            ref = self._ref_of_number(found)
            found = ids.Named(ref) if ref else None
        is_ours = found and found.ref.conference_id and found.ref.backend in self._backends
        return found if is_ours else None

    def _ref_of_number(self, number: ids.Number) -> ConferenceRef | None:
        if number.is_alias:
            return self._aliases.resolve(number.value)
        return ConferenceRef(self._number_owner, str(number.value)) if self._number_owner else None


def _number_owner(
    aliases: Aliases, backends: Collection[str], has_conferences: Callable[[str], bool]
) -> str | None:
    """Return the backend to which the numbers that are not aliases belong.

    If the settings have a single backend, return that backend, unless the owner before still has
    conferences, whose numbers Jicofo may know. Otherwise return the last owner; `None` if there was
    never an only backend. Raises `StateError` if a change cannot be stored.
    """
    known = aliases.number_owner
    if len(backends) != 1:
        return known
    only = next(iter(backends))
    if only == known or (known is not None and has_conferences(known)):
        return known
    aliases.set_number_owner(only)
    return only

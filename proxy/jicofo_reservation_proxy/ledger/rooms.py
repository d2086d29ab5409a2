"""The conferences of each room, by their keys.

Almost every room has one conference. A dict for each room takes 250 bytes, so a room with one
conference has its key only.
"""

from collections.abc import Collection


class Rooms:
    """The keys of the conferences of each room; the last added key is last."""

    def __init__(self) -> None:
        # Each backend has a dict of its own: a tuple as the key of a room takes 64 bytes more.
        self._keys: dict[str, dict[str, str | dict[str, None]]] = {}

    def add(self, backend: str, room: str, key: str) -> None:
        """Add a conference that is not in the room yet."""
        rooms = self._keys.setdefault(backend, {})
        known = rooms.setdefault(room, key)
        if known is key:
            return
        if isinstance(known, str):
            rooms[room] = {known: None, key: None}
        else:
            known[key] = None

    def discard(self, backend: str, room: str, key: str) -> None:
        """Remove a conference; do nothing if it is not in the room."""
        rooms = self._keys.get(backend, {})
        known = rooms.get(room)
        if known == key:
            del rooms[room]
        elif isinstance(known, dict):
            known.pop(key, None)
            if len(known) == 1:
                rooms[room] = next(iter(known))

    def of(self, backend: str, room: str) -> Collection[str]:
        """Return the conferences of a room."""
        known = self._keys.get(backend, {}).get(room, ())
        return (known,) if isinstance(known, str) else known

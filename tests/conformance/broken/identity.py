"""Backends that fail the cases of identity.toml: which room names are the same room."""

import re
from collections.abc import Callable
from urllib.parse import unquote, unquote_to_bytes

import grpc
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb
from jicofo_reservation_proxy.http.forms import parse_room
from jicofo_reservation_stub.store import Conference, Store

from .backend import Backend, Context, fails

CONFLICT = "wanted conference, got conflict"


class _RoomsBy(dict[str, Conference]):
    """An index of rooms that treats some different names as the same room."""

    def __init__(self, key: Callable[[str], str]) -> None:
        super().__init__()
        self._key = key

    def get(self, room: str, _default: object = None) -> Conference | None:  # type: ignore[override]
        return super().get(self._key(room))

    def __setitem__(self, room: str, conference: Conference) -> None:
        super().__setitem__(self._key(room), conference)

    def __delitem__(self, room: str) -> None:
        super().__delitem__(self._key(room))


class _Keyed(Store):
    def __init__(self, key: Callable[[str], str]) -> None:
        super().__init__()
        self._by_room = _RoomsBy(key)


class _KeyedBackend(Backend):
    def __init__(self) -> None:
        super().__init__(_Keyed(self.key))

    @staticmethod
    def key(room: str) -> str:
        """Return the key of the room in the index."""
        raise NotImplementedError


@fails({"tenants": f"step 2, create: {CONFLICT}"})
class ForgetsTheTenant(_KeyedBackend):
    """The backend was written for one tenant, and removes the tenant from the name."""

    @staticmethod
    def key(room: str) -> str:
        """Return the room without its tenant."""
        return re.sub(r"^\[.*?\]", "", room)


@fails(
    {"tenants": f"step 2, create: {CONFLICT}", "percent-encoding": f"step 2, create: {CONFLICT}"}
)
class StoresTheName(_KeyedBackend):
    """The backend identifies rooms by `Room.name`, which is only for display."""

    @staticmethod
    def key(room: str) -> str:
        """Return the decoded name."""
        return parse_room(room).name


@fails({"percent-encoding": f"step 2, create: {CONFLICT}"})
class DecodesTheRoom(_KeyedBackend):
    """The backend decodes the percent-encoding before it looks up a room."""

    @staticmethod
    def key(room: str) -> str:
        """Return the decoded room."""
        return unquote(room)


@fails(
    {"percent-encoding": f"step 2, create: {CONFLICT}", "upper-case": f"step 2, create: {CONFLICT}"}
)
class ComparesInLowerCase(_KeyedBackend):
    """The backend compares rooms without regard to upper and lower case, as many databases do."""

    @staticmethod
    def key(room: str) -> str:
        """Return the room in lower case."""
        return room.lower()


@fails({"upper-case": f"step 2, create: {CONFLICT}"})
class ComparesLettersInLowerCase(_KeyedBackend):
    """The backend compares rooms without regard to case, except in percent-encoded bytes."""

    @staticmethod
    def key(room: str) -> str:
        """Return the room in lower case, except for its encoded bytes."""
        return re.sub(
            "%..|[^%]+", lambda part: part[0] if "%" in part[0] else part[0].lower(), room
        )


@fails({"long-names": f"step 2, create: {CONFLICT}"})
class CutsNames(_KeyedBackend):
    """The database column for rooms has 255 characters, and the database cuts longer names."""

    @staticmethod
    def key(room: str) -> str:
        """Return the beginning of the room."""
        return room[:255]


def _refuse(context: Context, what: str) -> None:
    context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"room: {what}")


_REFUSED = "wanted conference, got INVALID_ARGUMENT"


@fails({"long-names": f"step 1, create: {_REFUSED} ('room: more than 255 bytes')"})
class RefusesLongNames(Backend):
    """The database column for rooms has 255 bytes, and the backend refuses longer names."""

    def receive(self, request: pb.CreateConferenceRequest, context: Context) -> None:
        """Refuse a long name."""
        if len(request.room.raw.encode()) > 255:
            _refuse(context, "more than 255 bytes")


@fails({"broken-encoding": f"step 1, create: {_REFUSED} ('room: not UTF-8')"})
class DecodesStrictly(Backend):
    """The backend decodes rooms itself, and fails if the result is not UTF-8."""

    def receive(self, request: pb.CreateConferenceRequest, context: Context) -> None:
        """Refuse a name that does not decode to UTF-8."""
        try:
            unquote_to_bytes(request.room.raw).decode()
        except UnicodeDecodeError:
            _refuse(context, "not UTF-8")


@fails({"broken-encoding": f"step 2, create: {_REFUSED} ('room: not percent-encoded')"})
class WantsTwoDigits(Backend):
    """The backend decodes rooms with a library that requires two digits after a percent sign."""

    def receive(self, request: pb.CreateConferenceRequest, context: Context) -> None:
        """Refuse a name with a percent sign that has no two digits."""
        if re.search(r"%(?![0-9A-Fa-f]{2})", request.room.raw):
            _refuse(context, "not percent-encoded")


@fails({"non-latin": f"step 1, create: {_REFUSED} ('room: not in Latin-1')"})
class KnowsLatinOnly(Backend):
    """The database uses Latin-1, so it cannot store other characters."""

    def receive(self, request: pb.CreateConferenceRequest, context: Context) -> None:
        """Refuse a name with characters outside Latin-1."""
        if any(ord(character) > 0xFF for character in request.room.raw):
            _refuse(context, "not in Latin-1")


@fails({"non-latin": f"step 2, create: {_REFUSED} ('room: no such characters')"})
class ShowsLatinOnly(Backend):
    """The backend stores the raw name, but fails on some characters of the decoded name."""

    def receive(self, request: pb.CreateConferenceRequest, context: Context) -> None:
        """Refuse a name with Chinese or Japanese characters."""
        if any("\u2e80" <= character <= "\u9fff" for character in request.room.name):
            _refuse(context, "no such characters")


@fails({"non-latin": f"step 3, create: {_REFUSED} ('room: not in utf8mb3')"})
class KnowsThreeBytesOnly(Backend):
    """The database stores only characters that have up to three bytes in UTF-8."""

    def receive(self, request: pb.CreateConferenceRequest, context: Context) -> None:
        """Refuse a name with a character of four bytes."""
        if any(ord(character) > 0xFFFF for character in request.room.raw):
            _refuse(context, "not in utf8mb3")

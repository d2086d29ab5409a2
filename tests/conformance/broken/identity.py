"""Backends that fail the cases of identity.toml: which names are the same room."""

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
    """An index of rooms that holds some names for the same."""

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
        """Return what the room is stored under."""
        raise NotImplementedError


@fails({"tenants": f"step 2, create: {CONFLICT}"})
class ForgetsTheTenant(_KeyedBackend):
    """It was written for one tenant, and cuts the brackets off."""

    @staticmethod
    def key(room: str) -> str:
        """Return the room without its tenant."""
        return re.sub(r"^\[.*?\]", "", room)


@fails(
    {"tenants": f"step 2, create: {CONFLICT}", "percent-encoding": f"step 2, create: {CONFLICT}"}
)
class StoresTheName(_KeyedBackend):
    """Its rooms are those of `Room.name`, which is for people."""

    @staticmethod
    def key(room: str) -> str:
        """Return the decoded name."""
        return parse_room(room).name


@fails({"percent-encoding": f"step 2, create: {CONFLICT}"})
class DecodesTheRoom(_KeyedBackend):
    """It undoes the percent-encoding before it looks a room up."""

    @staticmethod
    def key(room: str) -> str:
        """Return the decoded room."""
        return unquote(room)


@fails(
    {"percent-encoding": f"step 2, create: {CONFLICT}", "upper-case": f"step 2, create: {CONFLICT}"}
)
class ComparesInLowerCase(_KeyedBackend):
    """It compares rooms as many databases do by default."""

    @staticmethod
    def key(room: str) -> str:
        """Return the room in lower case."""
        return room.lower()


@fails({"upper-case": f"step 2, create: {CONFLICT}"})
class ComparesLettersInLowerCase(_KeyedBackend):
    """It does so on purpose, for people who type names, and leaves what is encoded alone."""

    @staticmethod
    def key(room: str) -> str:
        """Return the room in lower case, but for its encoded bytes."""
        return re.sub(
            "%..|[^%]+", lambda part: part[0] if "%" in part[0] else part[0].lower(), room
        )


@fails({"long-names": f"step 2, create: {CONFLICT}"})
class CutsNames(_KeyedBackend):
    """Its column for rooms has 255 characters, and its database cuts off what does not fit."""

    @staticmethod
    def key(room: str) -> str:
        """Return the beginning of the room."""
        return room[:255]


def _refuse(context: Context, what: str) -> None:
    context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"room: {what}")


_REFUSED = "wanted conference, got INVALID_ARGUMENT"


@fails({"long-names": f"step 1, create: {_REFUSED} ('room: more than 255 bytes')"})
class RefusesLongNames(Backend):
    """Its column for rooms has 255 characters, and it says so."""

    def receive(self, request: pb.CreateConferenceRequest, context: Context) -> None:
        """Refuse a long room."""
        if len(request.room.raw.encode()) > 255:
            _refuse(context, "more than 255 bytes")


@fails({"broken-encoding": f"step 1, create: {_REFUSED} ('room: not UTF-8')"})
class DecodesStrictly(Backend):
    """It decodes rooms itself, and expects UTF-8."""

    def receive(self, request: pb.CreateConferenceRequest, context: Context) -> None:
        """Refuse what is not UTF-8."""
        try:
            unquote_to_bytes(request.room.raw).decode()
        except UnicodeDecodeError:
            _refuse(context, "not UTF-8")


@fails({"broken-encoding": f"step 2, create: {_REFUSED} ('room: not percent-encoded')"})
class WantsTwoDigits(Backend):
    """It decodes rooms by a library that fails on a percent sign without two digits."""

    def receive(self, request: pb.CreateConferenceRequest, context: Context) -> None:
        """Refuse what is not percent-encoded."""
        if re.search(r"%(?![0-9A-Fa-f]{2})", request.room.raw):
            _refuse(context, "not percent-encoded")


@fails({"non-latin": f"step 1, create: {_REFUSED} ('room: not in Latin-1')"})
class KnowsLatinOnly(Backend):
    """Its database was created for Western Europe."""

    def receive(self, request: pb.CreateConferenceRequest, context: Context) -> None:
        """Refuse what Latin-1 does not hold."""
        if any(ord(character) > 0xFF for character in request.room.raw):
            _refuse(context, "not in Latin-1")


@fails({"non-latin": f"step 2, create: {_REFUSED} ('room: no such characters')"})
class ShowsLatinOnly(Backend):
    """It stores what Jitsi sent, and fails on the names for people."""

    def receive(self, request: pb.CreateConferenceRequest, context: Context) -> None:
        """Refuse Chinese and Japanese names."""
        if any("\u2e80" <= character <= "\u9fff" for character in request.room.name):
            _refuse(context, "no such characters")


@fails({"non-latin": f"step 3, create: {_REFUSED} ('room: not in utf8mb3')"})
class KnowsThreeBytesOnly(Backend):
    """Its database holds what UTF-8 makes of up to three bytes."""

    def receive(self, request: pb.CreateConferenceRequest, context: Context) -> None:
        """Refuse what takes four bytes."""
        if any(ord(character) > 0xFFFF for character in request.room.raw):
            _refuse(context, "not in utf8mb3")

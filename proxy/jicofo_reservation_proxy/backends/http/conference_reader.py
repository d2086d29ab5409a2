"""Read a conference out of the JSON object of an answer, whatever its fields are called."""

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from jicofo_reservation_proxy.backends.conference_rules import (
    ContractBreach,
    breach,
    checked_id,
    checked_name,
    checked_secret,
    usable_url,
)
from jicofo_reservation_proxy.model import Conference, CreateRequest
from jicofo_reservation_proxy.settings.schema import Http

from .answer_bodies import at_path
from .endpoints import UnsafeValueError
from .lenient_values import (
    read_duration,
    read_flag,
    read_positive,
    read_text,
    read_time,
)
from .targets import Targets

_SECONDS = {"seconds": 1, "minutes": 60}

logger = logging.getLogger(__name__)


class ConferenceReader:
    """Reads the conferences in the answers of one backend.

    A missing `name` or `mail_owner` is unknown (""). A time without a zone is taken as UTC, and the
    first one is logged.
    """

    def __init__(self, name: str, http: Http, targets: Targets) -> None:
        self._key = f"backends.{name}"
        self._paths = http.answer_fields
        self._seconds_of_unit = _SECONDS[http.duration_unit]
        self._targets = targets
        self._has_warned = False

    def granted(self, fields: Mapping[str, Any], request: CreateRequest) -> Conference:
        """Return the conference of an answer to a create.

        A missing owner is that of the request, and a missing start time too.

        Raises `ContractBreach`, with the id of the conference if the answer has a usable one.
        """
        try:
            found = self._conference(fields, self.id_in(fields, request), request.start_time_ms)
        except ContractBreach as error:
            with suppress(ContractBreach):
                error.granted_id = self.id_in(fields, request)
            raise
        return found if found.owner else replace(found, owner=request.mail_owner or "")

    def existing(self, fields: Mapping[str, Any], conference_id: str) -> Conference:
        """Return the conference with this id, from a conflict or from the answer to a GET.

        Raises `ContractBreach`, also if the start time is missing: it is not that of the request.
        """
        own_id = self._read_id(fields, self._paths.id)
        if own_id not in {"", conference_id}:
            raise breach(f"the conference {conference_id!r}", repr(own_id[:100]))
        return self._conference(fields, conference_id, None)

    def id_in(self, fields: Mapping[str, Any], request: CreateRequest) -> str:
        """Return the id in an answer to a create. Raises `ContractBreach`."""
        own_id = self._read_id(fields, self._paths.id) if self._paths.id else request.room.raw
        return self._in_path(checked_id(own_id))

    def conflict_id(self, fields: Mapping[str, Any], request: CreateRequest) -> str:
        """Return the id of the conference that holds the room, or "" if a 409 names none."""
        with suppress(ContractBreach):
            if named := self._read_id(fields, self._paths.conflict_id):
                return self._in_path(checked_id(named))
            return self.id_in(fields, request)
        return ""

    def _conference(
        self,
        fields: Mapping[str, Any],
        conference_id: str,
        default_start_ms: int | None,
    ) -> Conference:
        paths = self._paths

        def value(path: str) -> Any:  # noqa: ANN401 - JSON
            return at_path(fields, path) if path else None

        return Conference(
            id=conference_id,
            room=checked_name("name", read_text("name", value(paths.name))),
            owner=checked_name("mail_owner", read_text("mail_owner", value(paths.mail_owner))),
            start_time_ms=self._start_time(value(paths.start_time), default_start_ms),
            duration_seconds=read_duration(
                "duration", value(paths.duration), seconds_of_unit=self._seconds_of_unit
            ),
            max_occupants=read_positive(value(paths.max_occupants)),
            lobby=read_flag(value(paths.lobby)),
            password=checked_secret("password", read_text("password", value(paths.password))),
            pin=checked_secret("pin", read_text("pin", value(paths.pin))),
            url=_url(value(paths.url)),
            sip_id=read_positive(value(paths.sip_id)),
        )

    def _read_id(self, fields: Mapping[str, Any], path: str) -> str:
        return read_text("id", at_path(fields, path)) if path else ""

    def _in_path(self, conference_id: str) -> str:
        """Return an id that can be put into the URLs of this backend."""
        try:
            self._targets.check_id(conference_id)
        except UnsafeValueError as error:
            raise breach("an id that can be part of a path", str(error)) from None
        return conference_id

    def _start_time(self, value: object, default_ms: int | None) -> int:
        if value is None or value == "":
            if default_ms is None:
                raise ContractBreach("wanted a start_time, got none")
            return default_ms
        found = read_time("start_time", value)
        if not (found.has_zone or self._has_warned):
            self._has_warned = True
            logger.warning(
                "%s answers times without a zone, such as %r; the proxy takes them as UTC",
                self._key,
                value,
            )
        return found.epoch_ms


def _url(value: object) -> str | None:
    return usable_url(value) if isinstance(value, str) and value.isprintable() else None

"""The body of a create: what Jitsi's handbook says, as a form or as JSON."""

import json
import re
from urllib.parse import urlencode

from jicofo_reservation_proxy.model import CreateRequest
from jicofo_reservation_proxy.settings.schema import Http
from jicofo_reservation_proxy.text_rules import format_time

FORM = "application/x-www-form-urlencoded; charset=UTF-8"
JSON = "application/json"

_SAFE_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")
"""Other names of a client are left out: PHP reads `mail.owner` and `mail_owner[]` as `mail_owner`,
and other servers ignore the case."""

NO_LIMIT = -1
"""Jicofo sends this duration for "no limit" (clients.md "POST body")."""


def create_body(http: Http, request: CreateRequest) -> tuple[str, bytes]:
    """Return the content type and the body of a create.

    The constant fields of the settings come after the fields of the handbook, and fields that the
    client itself has added come last. No field of a client replaces another one.
    """
    names = http.request_fields
    seconds = NO_LIMIT if request.duration_seconds is None else request.duration_seconds
    own: dict[str, str | int | None] = {
        names.name: request.room.raw,
        names.mail_owner: request.mail_owner,
        names.start_time: format_time(request.start_time_ms),
        names.duration: seconds,
    }
    found = {key: value for key, value in own.items() if key and value is not None}
    found.update({str(key): value for key, value in http.extra_fields.items()})
    taken = {key.lower() for key in (*own, *found)}  # `own` has the owner also if none was sent
    found |= {
        key: value
        for key, value in request.extra_fields.items()
        if _SAFE_NAME.fullmatch(key) and key.lower() not in taken
    }
    if http.body == "json":
        return JSON, json.dumps(found).encode("ascii")
    return FORM, urlencode(found).encode("ascii")

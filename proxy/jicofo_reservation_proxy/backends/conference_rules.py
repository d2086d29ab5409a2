"""The rules for the values of a conference in an answer of a backend.

The functions round or leave out unusual values that are harmless. They refuse an answer as a breach
of the contract if a client cannot handle it, or if a corrected value could open a room that should
stay closed. For example, they do not ignore a password that people cannot type.
"""

from jicofo_reservation_proxy.text_rules import has_control_characters

MAX_ID_BYTES = 255
MAX_JID_BYTES = 3071
"""The length of the longest JID (RFC 7622). A room or an owner is never longer."""
MAX_SECRET_BYTES = 255
MAX_URL_BYTES = 2048


class ContractBreach(Exception):  # noqa: N818 - the contract's own word
    """A backend returned a response that the contract forbids; the text is for the log.

    `granted_id` is the id of the conference if the response granted one, otherwise "". `has_row`
    as in `Granted`.
    """

    granted_id = ""
    has_row = False


def breach(wanted: str, got: str) -> ContractBreach:
    """Return the breach of a rule."""
    return ContractBreach(f"wanted {wanted}, got {got}")


def checked_id(conference_id: str) -> str:
    """Return an id. Raises `ContractBreach` if it is empty or too long."""
    if not 1 <= _size(conference_id) <= MAX_ID_BYTES:
        raise breach(f"an id of 1 to {MAX_ID_BYTES} bytes", f"{_size(conference_id)} bytes")
    return conference_id


def usable_id(conference_id: str) -> str:
    """Return the id of an answer that breaks the contract, or "" if it is too long."""
    return conference_id if _size(conference_id) <= MAX_ID_BYTES else ""


def checked_name(field: str, text: str) -> str:
    """Return a room or an owner. Raises `ContractBreach` if it is too long."""
    if _size(text) > MAX_JID_BYTES:
        raise breach(f"a {field} of at most {MAX_JID_BYTES} bytes", f"{_size(text)} bytes")
    return text


def checked_secret(name: str, text: str) -> str | None:
    """Return a password or PIN, or `None` when it is empty.

    Raises `ContractBreach` when people cannot type the text. If the proxy ignored the text, the
    room would open without a password or PIN.
    """
    if not text:
        return None
    if not _is_typeable(text, MAX_SECRET_BYTES):
        size = _size(text)
        raise breach(
            f"a {name} of at most {MAX_SECRET_BYTES} bytes without control characters",
            f"{size} bytes" if size > MAX_SECRET_BYTES else "a control character",
        )
    return text


def usable_url(url: str) -> str | None:
    """Return a URL, or `None` if it is empty or unusable: no room opens by its absence."""
    return url if url and _is_typeable(url, MAX_URL_BYTES) else None


def _is_typeable(text: str, max_bytes: int) -> bool:
    return _size(text) <= max_bytes and not has_control_characters(text)


def _size(text: str) -> int:
    """Return the number of bytes of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())

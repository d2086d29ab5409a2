"""Owners: a form's `mail_owner`, taken apart, and whether it is a guest's."""

import re
from collections.abc import Callable, Iterable
from fnmatch import translate

from jicofo_reservation_proxy.model import Owner

IsGuest = Callable[[str], bool]
"""Whether the users of a domain have not signed in."""


def guest_test(domains: Iterable[str]) -> IsGuest:
    """Return the test whether a domain matches one of these globs (the setting `guest_domains`)."""
    pattern = re.compile("|".join(map(translate, domains)) or r"(?!)", re.IGNORECASE)
    return lambda domain: pattern.match(domain) is not None


def parse_owner(raw: str, is_guest: IsGuest) -> Owner:
    """Take an owner apart at its last "@": a bare JID, or an address for mail."""
    user, at, domain = raw.rpartition("@")
    if not at:
        user, domain = raw, ""
    return Owner(raw=raw, user=user, domain=domain, is_guest=is_guest(domain))

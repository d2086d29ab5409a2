"""Owners: the user and the domain in a form's `mail_owner`, and whether the owner is a guest."""

import re
from collections.abc import Callable, Iterable
from fnmatch import translate

from jicofo_reservation_proxy.model import Owner

IsGuest = Callable[[str], bool]
"""A domain → whether its users are guests, who have not signed in."""


def guest_test(domains: Iterable[str]) -> IsGuest:
    """Return a function that tests a domain against these globs (the setting `guest_domains`)."""
    pattern = re.compile("|".join(map(translate, domains)) or r"(?!)", re.IGNORECASE)
    return lambda domain: pattern.match(domain) is not None


def parse_owner(raw: str, is_guest: IsGuest) -> Owner:
    """Split an owner, which is a bare JID or a mail address, at its last "@"."""
    user, at, domain = raw.rpartition("@")
    if not at:
        user, domain = raw, ""
    return Owner(raw=raw, user=user, domain=domain, is_guest=is_guest(domain))

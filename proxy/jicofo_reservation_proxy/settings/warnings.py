"""Warnings about settings that are valid and probably not meant so, for `serve` and `check`."""

from collections.abc import Iterator, Mapping

from .addresses import is_loopback_listen
from .schema import Route, Settings
from .sources import near_misses


def warnings_about(settings: Settings, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence for each doubtful setting: what it does, and what to do instead."""
    yield from near_misses(environ)
    if not settings.client_token_file and not is_loopback_listen(settings.listen):
        yield (
            f"listen: everyone who can reach {settings.listen} can create and delete conferences, "
            "and read their passwords; set client_token_file, or listen on 127.0.0.1"
        )
    if settings.admin_listen and not is_loopback_listen(settings.admin_listen):
        yield (
            f"admin_listen: everyone who can reach {settings.admin_listen} can see who meets in "
            "which room; set mask_rooms, or listen on 127.0.0.1"
        )
    for index, route in enumerate(settings.routes[:-1]):
        if _matches_every_room(route):
            yield (
                f"routes.{index}: it matches every room, so the proxy never uses the routes after "
                "it; move it to the end"
            )
            return


def _matches_every_room(route: Route) -> bool:
    globs = {route.tenant, route.room} <= {None, "*"}
    return globs and route.tenant_regex is None and route.room_regex is None

"""The targets of the requests to one backend: its endpoints below the path of its URL."""

from urllib.parse import urlsplit

from jicofo_reservation_proxy.settings.schema import Backend, Http

from .endpoints import endpoint


class Targets:
    """The endpoints of a backend; `None` for one that is switched off."""

    def __init__(self, backend: Backend) -> None:
        http = backend.http or Http()
        base_path = urlsplit(backend.target).path.rstrip("/")
        self.create = endpoint(http.create, base_path)
        self.get = endpoint(http.get, base_path)
        self.delete = endpoint(http.delete, base_path)

    def check_id(self, conference_id: str) -> None:
        """Raise `UnsafeValueError` if a conference with this id could not be read or deleted."""
        for used in (self.get, self.delete):
            if used:
                used.for_conference(conference_id)

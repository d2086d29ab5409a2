"""The errors that stop a command. Their text is for the operator, never for a user in a meeting.

The ledger also raises `StateError` while the proxy serves. Then only one request or delivery fails.

ProxyError
  ├── SettingsError       a setting is wrong
  ├── CredentialsError    a certificate, key or token cannot be used
  ├── StateError          the state directory or the ledger in it cannot be used
  │     └── StateInUseError     another process uses the state directory
  ├── ListenError         the address to listen on cannot be used
  └── UnreachableError    the backend does not answer the conformance kit
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Self


class ProxyError(Exception):
    """A reason why a command cannot start or continue; the text has one or more lines."""


class SettingFault(NamedTuple):
    """One wrong setting: its key, a message ("wanted …, got …"), and the source of the value."""

    key: str
    message: str
    origin: str = ""

    def __str__(self) -> str:
        """Return the line for the operator."""
        return f"{self.key}: {self.message}" + (f" ({self.origin})" if self.origin else "")


class SettingsError(ProxyError):
    """The settings are wrong; `faults` holds every wrong setting that was found."""

    def __init__(self, faults: Sequence[SettingFault]) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = tuple(faults)


class CredentialsError(ProxyError):
    """A certificate, key or token cannot be used; the message names the setting."""


class CollectedFaults:
    """Collects `CredentialsError`s, and raises one with all their texts at the end of its block.

    An operator sees all faults at once, and not one after the other.
    """

    def __init__(self) -> None:
        self._texts: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self._texts:
            raise CredentialsError("\n".join(self._texts))

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Collect the `CredentialsError` of a block in place of raising it."""
        try:
            yield
        except CredentialsError as error:
            self._texts.append(str(error))


class StateError(ProxyError):
    """The state directory, or the ledger in it, cannot be used."""


class StateInUseError(StateError):
    """Another process uses the state directory."""


class ListenError(ProxyError):
    """The address to listen on cannot be used, for example because another process uses it."""


class UnreachableError(ProxyError):
    """The backend that the conformance kit calls does not answer."""

"""What keeps the proxy from starting, as the operator reads it."""

import pytest
from jicofo_reservation_proxy.errors import (
    CredentialsError,
    ListenError,
    ProxyError,
    SettingFault,
    SettingsError,
    StateError,
    StateInUseError,
)


def test_a_fault_is_a_line() -> None:
    """A fault names the key, what is wrong, and where it came from if that is known."""
    assert str(SettingFault("listen", "wanted x, got 'y'")) == "listen: wanted x, got 'y'"
    assert (
        str(SettingFault("listen", "wanted x, got 'y'", "from $LISTEN"))
        == "listen: wanted x, got 'y' (from $LISTEN)"
    )


def test_every_fault_is_told() -> None:
    """The error holds all faults, and its text has a line for each, in their order."""
    faults = [SettingFault("b", "wrong"), SettingFault("a", "bad", "from the command line")]
    error = SettingsError(faults)
    assert error.faults == tuple(faults)
    assert str(error) == "b: wrong\na: bad (from the command line)"


@pytest.mark.parametrize("class_", [CredentialsError, ListenError, StateError, StateInUseError])
def test_every_reason_not_to_start_is_one(class_: type[ProxyError]) -> None:
    """The command catches one class, and shows its text."""
    error = class_("the text")
    assert isinstance(error, ProxyError)
    assert str(error) == "the text"


def test_a_directory_in_use_is_one_that_cannot_be_used() -> None:
    """Whoever only wants to know that there is no ledger need not tell the two apart."""
    assert issubclass(StateInUseError, StateError)


def test_wrong_settings_are_a_reason_not_to_start() -> None:
    """Wrong settings are told as every other reason."""
    assert isinstance(SettingsError([]), ProxyError)

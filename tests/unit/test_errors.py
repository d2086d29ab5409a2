"""The errors that stop a command, and their text for the operator."""

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


def test_a_wrong_setting_is_one_line() -> None:
    """A line names the key, the mistake and, if it is known, the origin of the value."""
    assert str(SettingFault("listen", "wanted x, got 'y'")) == "listen: wanted x, got 'y'"
    assert (
        str(SettingFault("listen", "wanted x, got 'y'", "from $LISTEN"))
        == "listen: wanted x, got 'y' (from $LISTEN)"
    )


def test_the_error_lists_every_wrong_setting() -> None:
    """The error contains all wrong settings, and its text has one line for each, in their order."""
    faults = [SettingFault("b", "wrong"), SettingFault("a", "bad", "from the command line")]
    error = SettingsError(faults)
    assert error.faults == tuple(faults)
    assert str(error) == "b: wrong\na: bad (from the command line)"


@pytest.mark.parametrize("class_", [CredentialsError, ListenError, StateError, StateInUseError])
def test_every_error_is_a_proxy_error(class_: type[ProxyError]) -> None:
    """A command catches one class, `ProxyError`, and shows its text."""
    error = class_("the text")
    assert isinstance(error, ProxyError)
    assert str(error) == "the text"


def test_a_state_directory_in_use_is_a_state_error() -> None:
    """A caller can catch `StateError` alone if the difference does not matter."""
    assert issubclass(StateInUseError, StateError)


def test_wrong_settings_are_a_proxy_error() -> None:
    """A command shows wrong settings in the same way as every other error."""
    assert isinstance(SettingsError([]), ProxyError)

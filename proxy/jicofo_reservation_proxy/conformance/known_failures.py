"""Known failures: a TOML file of cases and reasons. The kit counts only other failures."""

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from jicofo_reservation_proxy.errors import SettingFault, SettingsError

from .result import Result, Verdict

PASSES = "the case is listed as a known failure, but it passes; remove it from the list"


def load(file: Path, names: Collection[str]) -> Mapping[str, str]:
    """Return the reasons, by the names of the cases: `get-deleted = "we keep them for a day"`.

    Raises `SettingsError` with every fault: the file cannot be read or is not TOML, a case does not
    exist, or a reason is missing.
    """
    try:
        tree = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise SettingsError(
            [SettingFault(str(file), f"cannot be read: {error.strerror}")]
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError([SettingFault(str(file), f"is not valid TOML: {error}")]) from None
    faults = [
        SettingFault(name, message, f"in {file}")
        for name, reason in tree.items()
        if (message := _wrong(name, reason, names))
    ]
    if faults:
        raise SettingsError(faults)
    return tree


def judged(result: Result, known: Mapping[str, str]) -> Result:
    """Apply the list of known failures to a result.

    If a listed case failed, the verdict becomes `KNOWN`. If a listed case passed, it becomes
    `FAILED`.
    """
    reason = known.get(result.case.name)
    if reason is None:
        return result
    if result.verdict is Verdict.FAILED:
        return replace(result, verdict=Verdict.KNOWN, reason=reason)
    if result.verdict is Verdict.PASSED:
        return replace(result, verdict=Verdict.FAILED, detail=PASSES)
    return result


def _wrong(name: str, reason: object, names: Collection[str]) -> str | None:
    if name not in names:
        return "wanted the name of a case (--list shows the names), got an unknown name"
    if not isinstance(reason, str) or not reason.strip():
        return f"wanted the reason why the case fails, got {reason!r}"
    return None

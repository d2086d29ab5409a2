"""The result of a case."""

import enum
from dataclasses import dataclass

from .case import Case


class Verdict(enum.Enum):
    """Whether a backend follows the sentence of a case. The value is the word in the table."""

    PASSED = "pass"
    FAILED = "FAIL"
    KNOWN = "known"
    """The case fails, and it is listed as a known failure."""
    SKIPPED = "skip"


@dataclass(frozen=True, slots=True)
class Result:
    """The verdict on one case. `detail` says what is wrong, or why the kit skipped the case."""

    case: Case
    verdict: Verdict
    detail: str = ""
    seconds: float = 0.0
    reason: str = ""
    """The reason from the list of known failures."""

    def raise_for_failure(self) -> None:
        """Raise `AssertionError` with the detail and the sentence if the case failed."""
        if self.verdict is Verdict.FAILED:
            raise AssertionError(f"{self.case.name}: {self.detail}\n{self.case.sentence}")

"""What came of a case."""

import enum
from dataclasses import dataclass

from .case import Case


class Verdict(enum.Enum):
    """Whether a backend keeps a case's sentence; the value is for the table."""

    PASSED = "pass"
    FAILED = "FAIL"
    KNOWN = "known"
    """It fails, and is known to."""
    SKIPPED = "skip"


@dataclass(frozen=True, slots=True)
class Result:
    """One case's verdict; `detail` says what is wrong, or why it was skipped."""

    case: Case
    verdict: Verdict
    detail: str = ""
    seconds: float = 0.0
    reason: str = ""
    """Why it is known to fail."""

    def raise_for_failure(self) -> None:
        """Raise `AssertionError` with all that is known about it, where the case failed."""
        if self.verdict is Verdict.FAILED:
            raise AssertionError(f"{self.case.name}: {self.detail}\n{self.case.sentence}")

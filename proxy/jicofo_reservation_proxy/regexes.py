r"""The regular expressions of the settings. RE2 matches them in time linear in the text.

Python's own `re` needs exponential time for some patterns, such as `(\w+-?)+\.board`. A room's
name could then stop the whole process for seconds. The package `google-re2` is in the extra
`regex`, because few operators need regular expressions. Python loads it for the first expression.
"""

from typing import Protocol, cast


class Pattern(Protocol):
    """A compiled regular expression."""

    def fullmatch(self, text: str, /) -> object | None:
        """Return a match if the expression matches the whole text, otherwise `None`."""


class RegexError(ValueError):
    """A text is not a regular expression in RE2's syntax."""


class RegexUnavailableError(Exception):
    """The package `google-re2` is not installed."""


def compile_regex(text: str) -> Pattern:
    """Return the compiled expression, which ignores case.

    Raises `RegexError` and `RegexUnavailableError`.
    """
    try:
        import re2  # noqa: PLC0415 - see the docstring of the module
    except ImportError as error:
        raise RegexUnavailableError from error
    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    try:
        return cast("Pattern", re2.compile(text, options))
    except UnicodeEncodeError as error:
        raise RegexError(str(error)) from None
    except re2.error as error:
        reason = error.args[0]
        message = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise RegexError(message) from None

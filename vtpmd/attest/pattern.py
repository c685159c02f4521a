"""Regular expressions of policies, judged in time that is linear in the text.

What is matched comes from the machine that is judged, so an expression must not be able to take
for ever: RE2 has no backreferences and no lookaround, and needs none of the time that they cost.
"""

from dataclasses import dataclass, field
from typing import Any, Self

from .errors import MalformedError

_SHOWN = 80


@dataclass(frozen=True)
class Pattern:
    """A regular expression."""

    text: str
    _compiled: Any = field(repr=False, compare=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """The expression that a text says. Raises MalformedError."""
        import re2  # not before it is needed: most policies have no expression

        options = re2.Options()
        options.log_errors = False  # to standard error it would
        try:
            return cls(text, re2.compile(text, options))
        except re2.error as error:
            (reason,) = error.args  # octets
            shown = ascii(reason[:_SHOWN].decode(errors="replace"))
            raise MalformedError(f"is no regular expression for RE2: {shown}") from None
        except UnicodeEncodeError:
            raise MalformedError("is no regular expression: it is no Unicode") from None

    def matches(self, text: str) -> bool:
        """Whether it matches the whole of a text; what is no Unicode matches nothing."""
        try:
            return self._compiled.fullmatch(text) is not None
        except UnicodeEncodeError:
            return False

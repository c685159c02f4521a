"""What a check comes to, and how a table of checks is gone through."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from vtpmd.api.names import BAD, OK, UNKNOWN, WARNING
from vtpmd.api.schema import Finding

Subject = TypeVar("Subject")


class Found(NamedTuple):
    """A verdict (`api.names`), why it is so, and what to do about it."""

    verdict: str
    reason: str
    remedy: str = ""


def ok(reason: str) -> Found:
    """All is as it should be."""
    return Found(OK, reason)


def unknown(reason: str, remedy: str = "") -> Found:
    """It could not be looked at."""
    return Found(UNKNOWN, reason, remedy)


def warning(reason: str, remedy: str) -> Found:
    """It works, and may go wrong."""
    return Found(WARNING, reason, remedy)


def bad(reason: str, remedy: str) -> Found:
    """Something does not work."""
    return Found(BAD, reason, remedy)


@dataclass(frozen=True)
class Check(Generic[Subject]):
    """What is looked at, under a name; `refuses`: a daemon that finds it bad does not start."""

    name: str
    look: Callable[[Subject], Found | Iterable[Found]]
    refuses: bool = False

    def findings(self, subject: Subject) -> Iterator[Finding]:
        """What it comes to. What the host does not let us look at is unknown."""
        try:
            found = self.look(subject)
            several = [found] if isinstance(found, Found) else list(found)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            several = [unknown(f"{where}{error.strerror or error}")]
        for each in several:
            yield Finding(check=self.name, **each._asdict())


def examine(checks: Sequence[Check[Subject]], subject: Subject) -> list[Finding]:
    """The findings of all checks about one subject."""
    return [finding for check in checks for finding in check.findings(subject)]

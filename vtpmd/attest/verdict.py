"""The verdict of a verification: a list of checks, of which the first that failed decides."""

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Final

from .eventlog.boot import Boot
from .pcrs import PcrValues
from .policy import Rule
from .quote import Quote

ASSUMPTION: Final = (
    "The host is trusted: whoever controls the machine that runs a virtual TPM can make it say "
    "anything."
)


class Status(IntEnum):
    """Exit statuses of `vtpmctl verify`."""

    GENUINE = 0
    MALFORMED = 12
    SIGNATURE = 20
    NONCE = 21
    PCR_DIGEST = 22
    LOG = 23
    POLICY = 24
    AK_NOT_PROVEN = 25
    CERTIFICATE = 26


class Outcome(Enum):
    """How a check ended."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Check:
    """One thing that was checked; `status` is GENUINE unless it failed."""

    name: str
    outcome: Outcome
    detail: str
    status: Status = Status.GENUINE


def passed(name: str, detail: str) -> Check:
    """A check that found what it should."""
    return Check(name, Outcome.PASSED, detail)


def failed(name: str, status: Status, detail: str) -> Check:
    """A check that did not."""
    return Check(name, Outcome.FAILED, detail, status)


def skipped(name: str, detail: str) -> Check:
    """A check that there was nothing for, or that an earlier one has made pointless."""
    return Check(name, Outcome.SKIPPED, detail)


@dataclass(frozen=True)
class Verdict:
    """Checks in the order of their weight, and what is proven: nothing else is in here."""

    checks: tuple[Check, ...]
    quote: Quote | None = None
    """If its signature is valid, and of a key that is believed; so with all that follows."""
    values: PcrValues | None = None
    """If they are what the quote's digest is of."""
    boot: Boot | None = None
    """If the log makes those values."""
    rules: tuple[Rule, ...] = ()
    """Every rule of the policy, whether it is kept or not."""

    @property
    def decisive(self) -> Check | None:
        """The first check that failed."""
        return next((check for check in self.checks if check.outcome is Outcome.FAILED), None)

    @property
    def status(self) -> Status:
        """What a program ends with."""
        return Status.GENUINE if self.decisive is None else self.decisive.status

"""Policies: what a machine is to have booted, as rules that are all judged and all told.

A rule about what is not proven is broken. How policies are written: `policy_text`.
"""

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from .eventlog.boot import Boot
from .eventlog.secure_boot import SecureBoot
from .pattern import Pattern
from .pcrs import PcrValues

_SHOWN = 3


@dataclass(frozen=True)
class Rule:
    """One rule of a policy: what it is about, whether it is kept, and why."""

    name: str
    kept: bool
    detail: str


@dataclass(frozen=True)
class Facts:
    """What is proven of a machine; None and empty is what is not."""

    values: PcrValues
    boot: Boot | None
    tpm_firmware_version: int


@dataclass(frozen=True)
class Policy:
    """The rules of a policy; None where it has none. Digests are octets."""

    pcrs: Mapping[int, frozenset[bytes]]
    """A PCR has one of these values, in whichever bank."""
    secure_boot: bool | None = None
    db_certs: frozenset[bytes] | None = None
    """Every certificate in db is one of these (SHA-256)."""
    dbx_contains: frozenset[bytes] | None = None
    """Each of these is in dbx."""
    boot_apps: frozenset[bytes] | None = None
    """Everything that was started is one of these."""
    cmdline: Pattern | None = None
    """It matches every kernel's command line, the whole of it."""
    firmware_version: frozenset[str] | None = None
    """The version of the S-CRTM is one of these."""
    tpm_firmware_version: frozenset[int] | None = None
    """The firmwareVersion in the quote is one of these."""

    def judge(self, facts: Facts) -> tuple[Rule, ...]:
        """Every rule."""
        return (*self._of_values(facts), *self._of_secure_boot(facts), *self._of_boot(facts))

    def _of_values(self, facts: Facts) -> Iterator[Rule]:
        for index, expected in sorted(self.pcrs.items()):
            found = {bank[index] for bank in facts.values.values() if index in bank}
            yield _one_of(f"pcrs.{index}", expected, found)
        if self.tpm_firmware_version is not None:
            version = facts.tpm_firmware_version
            kept = version in self.tpm_firmware_version
            yield Rule("tpm_firmware_version", kept, f"it is 0x{version:016x}")

    def _of_secure_boot(self, facts: Facts) -> Iterator[Rule]:
        state = facts.boot.secure_boot if facts.boot else SecureBoot(None, "no log is proven")
        if self.secure_boot is not None:
            yield Rule("secure_boot.enabled", state.enabled is self.secure_boot, state.reason)
        told = state.enabled is not None
        if self.db_certs is not None:
            others = {bytes.fromhex(each) for each in state.db_certs} - self.db_certs
            detail = f"others are there: {_shown(others)}" if others else "no others are there"
            kept = told and not others
            yield Rule("secure_boot.db_certs", kept, detail if told else state.reason)
        if self.dbx_contains is not None:
            missing = self.dbx_contains - {bytes.fromhex(each) for each in state.dbx_hashes}
            detail = f"it lacks {_shown(missing)}" if missing else "they are there"
            yield Rule("secure_boot.dbx_contains", not missing, detail if told else state.reason)

    def _of_boot(self, facts: Facts) -> Iterator[Rule]:
        boot = facts.boot
        if self.boot_apps is not None:
            found = boot.applications if boot else None
            others = set(found or ()) - self.boot_apps
            detail = (
                f"others were started: {_shown(others)}" if others else "no others were started"
            )
            kept = bool(found) and not others
            yield Rule("boot_apps", kept, detail if found else "what was started is not proven")
        if self.cmdline is not None:
            lines = boot.command_lines if boot else ()
            wrong = [line for line in lines if not self.cmdline.matches(line)]
            detail = f"it does not match {wrong[0]!a}" if wrong else f"{len(lines)} match"
            kept = bool(lines) and not wrong
            yield Rule("cmdline", kept, detail if lines else "no command line is proven")
        if self.firmware_version is not None:
            version = boot.firmware_version if boot else None
            known = version is not None
            detail = f"it is {version!a}" if known else "it is not proven"
            yield Rule("firmware_version", known and version in self.firmware_version, detail)


def _one_of(name: str, expected: frozenset[bytes], found: AbstractSet[bytes]) -> Rule:
    detail = f"it is {_shown(found)}" if found else "it is not proven"
    return Rule(name, not found.isdisjoint(expected), detail)


def _shown(digests: AbstractSet[bytes]) -> str:
    """A few of some digests."""
    few = ", ".join(sorted(each.hex() for each in digests)[:_SHOWN])
    return few + (f" and {len(digests) - _SHOWN} more" if len(digests) > _SHOWN else "")

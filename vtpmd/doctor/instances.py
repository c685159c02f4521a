"""What is wrong with instances, or may become so, as far as their reports say."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Final, NamedTuple

from vtpmd import __version__
from vtpmd.api import names
from vtpmd.api.schema import InstanceInfo

from .finding import Check, Found, bad, ok, warning
from .keys import ends


class Inventory(NamedTuple):
    """The instances that are looked at, with all that is known of each.

    `ends`: when the first of an instance's EK certificates ends, by name.
    """

    instances: Sequence[InstanceInfo]
    ends: Mapping[str, datetime] = MappingProxyType({})


def _states(inventory: Inventory) -> Iterator[Found]:
    for info in inventory.instances:
        if info.state == names.FAILED:
            yield bad(
                f"{info.name} has failed: {info.reason}",
                f"when that is mended, `vtpmctl start {info.name}`",
            )
        elif info.state == names.LOCKED:
            yield bad(
                f"{info.name} is locked: {info.reason}",
                f"when its key provider is back, `vtpmctl unlock {info.name}`",
            )
        elif info.handover == names.AWAY:
            yield warning(
                f"{info.name} is away: it was handed over to another host",
                f"`vtpmctl delete {info.name}` if it arrived there, `take-back` if it did not",
            )
        elif len(inventory.instances) == 1:
            yield ok(f"{info.name} is {info.state}: {info.reason}")


def _storage(inventory: Inventory) -> Iterator[Found]:
    for info in inventory.instances:
        if info.worker is not None and info.worker.storage not in ("available", "unknown"):
            yield bad(
                f"what {info.name} changes cannot be stored: {info.worker.storage}",
                "make room, or mend the storage of state_dir",
            )
        if info.worker is not None and info.worker.tpm == "failed":
            yield bad(
                f"the TPM of {info.name} is in failure mode",
                f"`vtpmctl stop {info.name}` and start it when its machine is shut down",
            )


def _lockouts(inventory: Inventory) -> Iterator[Found]:
    for info in inventory.instances:
        if info.worker is not None and info.worker.lockout:
            yield warning(
                f"the TPM of {info.name} is in lockout after {info.worker.failed_tries} failed "
                "authorizations: its machine may have no access to its keys",
                f"find out who has tried; `vtpmctl da-reset {info.name}` lets it answer again",
            )


def _rollbacks(inventory: Inventory) -> Iterator[Found]:
    for info in inventory.instances:
        if info.rollback:
            yield warning(
                f"{info.name}: {info.rollback}",
                f"`vtpmctl accept-rollback {info.name}` if that was intended",
            )


def _identities(inventory: Inventory) -> Iterator[Found]:
    told: set[frozenset[str]] = set()
    for info in inventory.instances:
        sharing = frozenset({info.name, *info.shares_identity_with})
        if len(sharing) > 1 and sharing not in told:
            told.add(sharing)
            yield warning(
                f"{', '.join(sorted(sharing))} have the same secrets: nobody can tell them apart",
                "clone with --policy replace, or delete those that are not needed",
            )


def _certificates(inventory: Inventory) -> Iterator[Found]:
    for info in inventory.instances:
        if info.certificates.startswith(("stale", "unknown")):
            yield warning(
                f"the EK certificates of {info.name} are {info.certificates}",
                f"`vtpmctl ek renew {info.name}`, or `ek import` those of a foreign authority",
            )
        elif info.name in inventory.ends:
            what, remedy = f"an EK certificate of {info.name}", f"`vtpmctl ek renew {info.name}`"
            found = ends(what, inventory.ends[info.name], remedy)
            if found.verdict != names.OK:
                yield found


def _versions(inventory: Inventory) -> Iterator[Found]:
    for info in inventory.instances:
        if info.worker is not None and info.worker.version not in ("", __version__):
            yield warning(
                f"the worker of {info.name} is of vtpmd {info.worker.version}, not {__version__}",
                f"`vtpmctl upgrade {info.name}`: its machine goes on",
            )


CHECKS: Final = (
    Check("instances", _states),
    Check("storage of instances", _storage),
    Check("lockouts", _lockouts),
    Check("rollback of instances", _rollbacks),
    Check("shared identities", _identities),
    Check("EK certificates", _certificates),
    Check("versions of workers", _versions),
)

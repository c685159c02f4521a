"""What of a changed configuration takes effect while the daemon runs."""

import contextlib
from typing import Final

from vtpmd.api.names import LOCKED
from vtpmd.api.problems import OperationError
from vtpmd.config.schema import Configuration
from vtpmd.telemetry.audit import Audit
from vtpmd.telemetry.log import get_logger

from .fleet import Fleet
from .instance import Instance
from .keys import close_later
from .refusals import EXPECTED
from .states import SERVED
from .survey import configured

_KEYS: Final = frozenset({"key_providers", "default_provider", "recovery_provider"})
AT_ONCE: Final = _KEYS | {
    *("admin", "audit", "clone", "defaults", "identity", "idle_timeout", "log", "metrics"),
    *("rollback", "sandbox", "sockets"),
}
"""Settings that need no restart; a worker has the sandbox that it was started with."""

_FAILURES: Final[tuple[type[Exception], ...]] = (OperationError, *EXPECTED)

log = get_logger("reload")


def changes(old: Configuration, new: Configuration) -> tuple[list[str], list[str]]:
    """The changed settings that take effect at once, and those that a restart has to bring."""
    changed = [
        name
        for name in sorted(Configuration.model_fields)
        if getattr(old, name) != getattr(new, name)
    ]
    bound = {"metrics"} if old.metrics.port != new.metrics.port else set()
    at_once = [name for name in changed if name in AT_ONCE - bound]
    return at_once, [name for name in changed if name not in at_once]


async def take_over(fleet: Fleet, new: Configuration) -> list[str]:
    """Go on with what takes effect at once; the names of the settings that do not."""
    host, before = fleet.host, fleet.host.configuration
    at_once, later = changes(host.configuration, new)
    taken = {name: getattr(new, name) for name in at_once}
    host.configuration = host.configuration.model_copy(update=taken)
    host.anchors.policy = host.configuration.rollback
    host.identities.settings = host.configuration.identity
    if "idle_timeout" in at_once and host.keeper is not None:
        host.keeper.offers.follow(host.configuration.idle_timeout)
    if not _KEYS.isdisjoint(at_once):
        _exchange_keys(fleet, before)
    if "sockets" in at_once:
        await _admit_anew(fleet)
    return later


def _exchange_keys(fleet: Fleet, before: Configuration) -> None:
    """Go on with other key providers; those whose settings are the same are not disturbed.

    Whoever has waited for one that is new or another now is tried again.
    """
    host = fleet.host
    known = {each.name: each for each in before.key_providers}
    same = {each.name for each in host.configuration.key_providers if known.get(each.name) == each}
    for gone in host.keys.exchange(configured(host.configuration, Audit()), same):
        host.nursery.start_soon(close_later, gone)
    if not list(fleet):  # as when the daemon starts
        host.nursery.start_soon(host.keys.initialise)
    for instance in fleet:
        provider = instance.metadata.provider
        if not host.keys.known(provider):
            log.warning(
                "key-provider-not-configured", provider=provider, instance=instance.metadata.name
            )
        elif instance.condition.state == LOCKED and provider not in same:
            host.nursery.start_soon(_unlock, instance)


async def _unlock(instance: Instance) -> None:
    with contextlib.suppress(*_FAILURES):  # its condition has the reason
        await instance.unlock()


async def _admit_anew(fleet: Fleet) -> None:
    """Let those connect to served instances whom the configuration names now."""
    for instance in fleet:
        if instance.metadata.owner is not None or instance.condition.state not in SERVED:
            continue
        try:
            await instance.set()
        except _FAILURES as error:
            name = instance.metadata.name
            log.warning("access-unchanged", instance=name, reason=str(error))

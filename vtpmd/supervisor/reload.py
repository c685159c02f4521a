"""What of a changed configuration takes effect while the daemon runs."""

from typing import Final

from vtpmd.api.problems import OperationError
from vtpmd.config.schema import Configuration
from vtpmd.telemetry.log import get_logger

from .fleet import Fleet
from .refusals import EXPECTED
from .states import SERVED

AT_ONCE: Final = frozenset(
    {"admin", "audit", "clone", "defaults", "log", "rollback", "sandbox", "sockets"}
)
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
    at_once = [name for name in changed if name in AT_ONCE]
    return at_once, [name for name in changed if name not in AT_ONCE]


async def take_over(fleet: Fleet, new: Configuration) -> list[str]:
    """Go on with what takes effect at once; the names of the settings that do not."""
    host = fleet.host
    at_once, later = changes(host.configuration, new)
    taken = {name: getattr(new, name) for name in at_once}
    host.configuration = host.configuration.model_copy(update=taken)
    host.anchors.policy = host.configuration.rollback
    if "sockets" in at_once:
        await _admit_anew(fleet)
    return later


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

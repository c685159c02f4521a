"""Failed authorizations forgotten for an administrator of the host, who needs no lockoutAuth."""

from vtpmd.ipc.messages import HandOverRefused, LockoutNotReset, LockoutReset, Message
from vtpmd.tpm.engine import Engine, Reply

from .handover import AWAY
from .instance import Instance


def reset(engine: Engine) -> tuple[LockoutReset, Reply]:
    """What there was to forget, and what to store now that it is forgotten."""
    failed_tries, lockout = engine.failed_tries, engine.in_lockout
    reply = engine.reset_lockout()
    return LockoutReset(failed_tries, lockout, engine.in_lockout), reply


def reset_served(instance: Instance) -> Message:
    """Reset that of a TPM which is served, durably; between two commands."""
    execution = instance.execution
    if execution.possession.handover.state == "away":
        return HandOverRefused(AWAY)
    if reason := execution.unsettled:
        return LockoutNotReset("busy", reason)
    execution.check_space()
    if not execution.engine.nv_available:
        return LockoutNotReset("storage", execution.storage)
    report, reply = reset(execution.engine)
    if execution.settle_now(reply):
        return LockoutNotReset("storage", "the new state could not be stored")
    return report

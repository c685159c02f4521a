"""Protection against guessing authValues (Part 1, 19.8).

failedTries and lockoutAuth's state are part of the permanent state: a failed authorization is
stored before it is answered.
"""

from ..rc import RC, TpmError
from ..state import Entity, Hierarchy, Session, Tpm
from ..wire.constants import RH


def check_locked_out(tpm: Tpm, lockout: bool) -> None:
    """Refuse the use of a DA-protected authValue while the TPM is in lockout.

    ``lockout`` is True for lockoutAuth itself, which has a rule of its own. Raises RC.LOCKOUT.
    """
    self_heal(tpm)
    attack = tpm.permanent.dictionary_attack
    if lockout:
        if not attack.lockout_auth_enabled:
            raise TpmError(RC.LOCKOUT)
    elif attack.failed_tries >= attack.max_tries:
        raise TpmError(RC.LOCKOUT)


def note_use(tpm: Tpm) -> None:
    """Record that a DA-protected authValue is about to be tried.

    From here to the next orderly shutdown a power loss counts as a failed try (Part 1, 19.8.6):
    else an attacker could cut the power before a failure is written.
    """
    if not tpm.permanent.da_used:
        tpm.begin_nv_update()
        tpm.permanent.da_used = True


def register_failure(tpm: Tpm, entity: Entity | None, session: Session | None, used: bool) -> int:
    """Count a failed authorization and return the response code for it.

    ``session`` is None for a password; ``used`` tells whether the authValue took part in it.
    AUTH_FAIL for what is DA protected, BAD_AUTH for the rest.
    """
    protected = used and entity is not None and entity.da_protected
    is_lockout = protected and isinstance(entity, Hierarchy) and entity.handle == RH.LOCKOUT
    if session is not None and session.is_da_bound:
        protected = True
        is_lockout = is_lockout or session.is_lockout_bound
    if not protected:
        return RC.BAD_AUTH
    tpm.begin_nv_update()
    attack = tpm.permanent.dictionary_attack
    if is_lockout:
        attack.lockout_auth_enabled = False
        tpm.permanent.lockout_timer = tpm.permanent.clock
    elif attack.recovery_time:
        attack.failed_tries += 1
        tpm.permanent.failure_timer = tpm.permanent.clock
    return RC.AUTH_FAIL


def self_heal(tpm: Tpm) -> None:
    """Forgive failed tries for the time that has gone by (Part 1, 19.8.3 and 19.8.4)."""
    permanent = tpm.permanent
    attack = permanent.dictionary_attack
    if attack.failed_tries and attack.recovery_time:
        forgiven = (permanent.clock - permanent.failure_timer) // (attack.recovery_time * 1000)
        if forgiven and tpm.nv_available:
            tpm.begin_nv_update()
            attack.failed_tries = max(0, attack.failed_tries - forgiven)
            permanent.failure_timer += forgiven * attack.recovery_time * 1000
    if (
        not attack.lockout_auth_enabled
        and attack.lockout_recovery
        and permanent.clock - permanent.lockout_timer >= attack.lockout_recovery * 1000
        and tpm.nv_available
    ):
        tpm.begin_nv_update()
        attack.lockout_auth_enabled = True


def at_startup(tpm: Tpm, orderly: bool) -> None:
    """Apply the rules of a TPM2_Startup(); the caller has announced the NV update.

    A disorderly end after the use of a DA-protected authValue counts as one failed try. With
    lockoutRecovery 0, lockoutAuth is usable again.
    """
    permanent = tpm.permanent
    attack = permanent.dictionary_attack
    guessed = permanent.da_used and not orderly
    if guessed and attack.recovery_time and attack.failed_tries < attack.max_tries:
        attack.failed_tries += 1
        permanent.failure_timer = permanent.clock
    permanent.da_used = False
    if not attack.lockout_recovery:
        attack.lockout_auth_enabled = True

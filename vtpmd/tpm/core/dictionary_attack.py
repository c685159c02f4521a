"""Protection against guessing authValues (Part 1, 16.8).

failedTries and lockoutAuth's state are part of the permanent state: a failed authorization is
stored before it is answered. The platform's objects and indices are not exempt, though Part 3,
25.1 says so: Part 1, 16.8.1 and libtpms only exempt noDA.
"""

from ..rc import RC, TpmError
from ..state import Entity, Session, Tpm
from ..wire.constants import RH


def in_lockout(tpm: Tpm) -> bool:
    """Whether so many tries have failed that no more are allowed."""
    attack = tpm.permanent.dictionary_attack
    return attack.failed_tries >= attack.max_tries


def begin_use(tpm: Tpm, *, is_lockout: bool) -> None:
    """Allow a try with a DA-protected authValue, unless the TPM is in lockout.

    `is_lockout` is True for lockoutAuth itself, which has a rule of its own. From here to the
    next TPM2_Shutdown a loss of power counts as a failed try (Part 1, 16.8.6), so a TPM2_Shutdown
    before no longer holds. Raises RC.LOCKOUT, and RC.NV_UNAVAILABLE if a failure could not be
    counted, because guesses would then be free.
    """
    tpm.require_nv()
    permanent = tpm.permanent
    attack = permanent.dictionary_attack
    if is_lockout:
        if not attack.lockout_auth_enabled:
            raise TpmError(RC.LOCKOUT)
        return
    if in_lockout(tpm):
        raise TpmError(RC.LOCKOUT)
    if not permanent.da_used or permanent.orderly is not None:
        tpm.begin_nv_update()
        permanent.da_used = True
        permanent.orderly = None


def register_failure(tpm: Tpm, entity: Entity | None, session: Session | None, used: bool) -> int:
    """Count a failed authorization and return the response code for it.

    `session` is None for a password; `used` tells whether the authValue took part in it.
    AUTH_FAIL for what is DA protected, BAD_AUTH for the rest.
    """
    protected = is_lockout = False
    if used and entity is not None:
        protected, is_lockout = entity.is_da_protected(), entity.handle == RH.LOCKOUT
    if session is not None and session.is_da_bound:
        protected, is_lockout = True, is_lockout or session.is_lockout_bound
    if not protected:
        return RC.BAD_AUTH
    tpm.begin_nv_update()
    attack = tpm.permanent.dictionary_attack
    if is_lockout:
        attack.lockout_auth_enabled = False
        tpm.permanent.lockout_timer = tpm.volatile.time
    elif attack.recovery_time:
        attack.failed_tries += 1
        tpm.permanent.failure_timer = tpm.volatile.time
    return RC.AUTH_FAIL


def self_heal(tpm: Tpm) -> None:
    """Forgive failed tries for the Time that has passed (Part 1, 16.8.4 and 16.8.5).

    Time is used and not Clock, which an owner can advance. A recoveryTime of zero disables the
    protection.
    """
    permanent = tpm.permanent
    attack = permanent.dictionary_attack
    if attack.failed_tries:
        interval = attack.recovery_time * 1000
        elapsed = tpm.volatile.time - permanent.failure_timer
        forgiven = elapsed // interval if interval else attack.failed_tries
        if forgiven:
            tpm.begin_nv_update()
            attack.failed_tries = max(0, attack.failed_tries - forgiven)
            permanent.failure_timer += forgiven * interval
    if not attack.lockout_auth_enabled and attack.lockout_recovery:
        elapsed = tpm.volatile.time - permanent.lockout_timer
        if elapsed >= attack.lockout_recovery * 1000:
            tpm.begin_nv_update()
            attack.lockout_auth_enabled = True


def at_startup(tpm: Tpm, *, orderly: bool) -> None:
    """Apply the rules of a TPM2_Startup(); the caller has announced the NV update.

    A disorderly shutdown after the use of a DA-protected authValue counts as one failed try, and
    the wait for recovery starts over. With lockoutRecovery 0, lockoutAuth is usable again.
    """
    permanent = tpm.permanent
    attack = permanent.dictionary_attack
    if orderly:
        permanent.failure_timer -= permanent.shutdown_time
        permanent.lockout_timer -= permanent.shutdown_time
    else:
        permanent.failure_timer = permanent.lockout_timer = 0
        if permanent.da_used and attack.recovery_time and attack.failed_tries < attack.max_tries:
            attack.failed_tries += 1
    permanent.da_used = False
    if not attack.lockout_recovery:
        attack.lockout_auth_enabled = True


def at_shutdown(tpm: Tpm) -> None:
    """Record that all tries so far are accounted for; the caller has announced the NV update."""
    tpm.permanent.da_used = False
    tpm.permanent.shutdown_time = tpm.volatile.time


def reset(tpm: Tpm) -> None:
    """Reset the failed tries, and enable lockoutAuth if it was locked out.

    The latter needs the lockoutPolicy (Part 1, 16.8.5). The caller has announced the NV update.
    """
    attack = tpm.permanent.dictionary_attack
    attack.failed_tries = 0
    attack.lockout_auth_enabled = True

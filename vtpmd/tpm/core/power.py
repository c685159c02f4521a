"""Power, startup and shutdown (Part 1, 9.2; Part 3, chapter 9)."""

from collections.abc import Callable

from ..rc import RC, TpmError
from ..state import (
    ClearState,
    Hierarchy,
    OrderlyState,
    ResetState,
    SuspendedState,
    Tpm,
    VolatileState,
)
from ..wire.attributes import TPMA_NV
from ..wire.constants import ALG, RH, SU
from . import audit, countdown, dictionary_attack, nv, pcrs
from .clock import NOMINAL_RATE
from .command_spec import CommandSpec

PROOF_SIZE = 64
SEED_SIZE = 64
CONTEXT_KEY_SIZE = 32
COMMIT_NONCE_SIZE = 64
CLOCK_UPDATE_INTERVAL = 1 << 22
"""How often Clock is stored, in ms (TPM_PT_CLOCK_UPDATE)."""
_STARTUP_LOCALITIES = (0, 3)
"""PC Client platform TPM profile: the static RTM's, without and with an H-CRTM of its own."""


def fresh_reset_state(random: Callable[[int], bytes]) -> ResetState:
    """The state after a TPM Reset."""
    null = Hierarchy(RH.NULL, seed=random(SEED_SIZE), proof=random(PROOF_SIZE))
    return ResetState(
        null,
        context_key=random(CONTEXT_KEY_SIZE),
        commit_nonce=random(COMMIT_NONCE_SIZE),
    )


def init(tpm: Tpm) -> None:
    """_TPM_Init: discard the volatile state; commands have to wait for TPM2_Startup."""
    _power_up(tpm, VolatileState(time_epoch=int.from_bytes(tpm.random(4))))


def orderly_state(tpm: Tpm) -> OrderlyState:
    """The part of the permanent state that changes without being stored."""
    permanent = tpm.permanent
    indices = {h: index for h, index in permanent.nv.items() if index.has(TPMA_NV.ORDERLY)}
    return OrderlyState(permanent.clock, permanent.clock_safe, indices, permanent.clock_adjustment)


def resume_volatile(tpm: Tpm, suspended: SuspendedState, since: int | None = None) -> None:
    """Instead of _TPM_Init, resume the volatile state that another engine saved.

    With `since`, the time by `Tpm.now` when it was saved, Time and Clock have gone on meanwhile.
    """
    permanent, orderly = tpm.permanent, suspended.orderly
    tpm.reset, tpm.clear = suspended.reset, suspended.clear
    permanent.clock, permanent.clock_safe = orderly.clock, orderly.clock_safe
    permanent.clock_adjustment = orderly.clock_adjustment
    for handle, index in orderly.nv.items():
        if handle in permanent.nv and permanent.nv[handle].has(TPMA_NV.ORDERLY):
            permanent.nv[handle] = index
    _power_up(tpm, suspended.volatile)
    if since is not None:
        tpm.last_now = since


def _power_up(tpm: Tpm, volatile: VolatileState) -> None:
    tpm.volatile = volatile
    tpm.last_now, tpm.clock_remainder = tpm.now(), 0
    tpm.failed = tpm.canceled = False
    if not volatile.started and tpm.permanent.orderly != SU.STATE:
        tpm.permanent.pcr_allocation = dict(tpm.permanent.pcr_allocation_next)


def tick(tpm: Tpm) -> None:
    """Advance Time and Clock to now (Part 1, 33.2 and 33.3), and handle whatever waits for Time.

    While the host can't store, they stand still: a Clock value once reported must not be lost.
    """
    if not tpm.nv_available:
        return
    now = tpm.now()
    passed = now - tpm.last_now
    if passed <= 0:
        return
    tpm.last_now = now
    permanent = tpm.permanent
    # No fraction of an adjusted millisecond may get lost, however often this is called.
    elapsed, tpm.clock_remainder = divmod(
        passed * (NOMINAL_RATE + permanent.clock_adjustment) + tpm.clock_remainder, NOMINAL_RATE
    )
    tpm.volatile.time += elapsed
    before = permanent.clock
    permanent.clock += elapsed
    if before // CLOCK_UPDATE_INTERVAL != permanent.clock // CLOCK_UPDATE_INTERVAL:
        permanent.clock_safe = True
        tpm.begin_nv_update()
    if tpm.volatile.started:
        dictionary_attack.self_heal(tpm)
        countdown.tick(tpm)


def startup(tpm: Tpm, startup_type: int) -> None:
    """TPM2_Startup (Part 3, 9.3): TPM Reset, Restart or Resume.

    Raises RC.LOCALITY for a locality that may not start the TPM, or from which a resume does not
    match the last start; RC.VALUE for a resume without a saved state.
    """
    if tpm.locality not in _STARTUP_LOCALITIES:
        raise TpmError(RC.LOCALITY)
    permanent = tpm.permanent
    orderly, reset = permanent.orderly is not None, permanent.orderly != SU.STATE
    resume = startup_type == SU.STATE
    h_crtm = tpm.volatile.h_crtm
    locality = 0 if h_crtm else tpm.locality
    if resume:
        if reset:
            raise TpmError(RC.VALUE, at="startup_type")
        if (permanent.startup_locality, permanent.startup_h_crtm) != (locality, h_crtm):
            raise TpmError(RC.LOCALITY)
    tpm.begin_nv_update()
    if not orderly:
        permanent.clock_safe = False
    if reset:
        tpm.reset = fresh_reset_state(tpm.random)
        tpm.context_ciphers.clear()  # keys of the secret that is gone
        permanent.reset_count = (permanent.reset_count + 1) & 0xFFFFFFFF
        permanent.total_reset_count += 1
    else:
        tpm.reset.restart_count = (tpm.reset.restart_count + 1) & 0xFFFFFFFF
        tpm.reset.clear_count += not resume
    if not resume:
        tpm.clear = ClearState()
        permanent.platform.auth_value = b""
        permanent.platform.policy_alg, permanent.platform.auth_policy = ALG.NULL, b""
    dictionary_attack.at_startup(tpm, orderly=orderly)
    nv.at_startup(tpm, resume=resume, reset=reset, orderly=orderly)
    pcrs.start(tpm, resume=resume, locality=locality)
    countdown.resume(tpm)
    permanent.startup_locality, permanent.startup_h_crtm = locality, h_crtm
    permanent.orderly = None
    tpm.volatile.started, tpm.volatile.started_orderly = True, orderly


def shutdown(tpm: Tpm, shutdown_type: int) -> None:
    """TPM2_Shutdown (Part 3, 9.4): save the state that the next TPM2_Startup may resume.

    Raises RC.TYPE for SU_STATE after TPM2_PCR_Allocate.
    """
    permanent = tpm.permanent
    if shutdown_type == SU.STATE and tpm.volatile.pcr_allocation_pending:
        raise TpmError(RC.TYPE, at="shutdown_type")
    tpm.begin_nv_update()
    if shutdown_type == SU.STATE:
        pcrs.save(tpm)
        countdown.save(tpm)
    dictionary_attack.at_shutdown(tpm)
    permanent.orderly = shutdown_type


def ends_orderly(tpm: Tpm, spec: CommandSpec) -> bool:
    """Whether a command that succeeds voids the TPM2_Shutdown that is in force (Part 3, 9.4).

    Raises RC.NV_UNAVAILABLE if that can't be stored.
    """
    if spec.keeps_orderly and not audit.is_audited(tpm, spec.code):
        return False
    tpm.require_nv()
    return True


def end_orderly(tpm: Tpm) -> None:
    """Void a TPM2_Shutdown, whose saved state is no longer current."""
    if tpm.permanent.orderly is not None:
        tpm.begin_nv_update()
        tpm.permanent.orderly = None

"""TPM state, grouped by lifetime (Part 1, 34.4 and 34.5)."""

from dataclasses import dataclass, field

from ..crypto.resumable import ResumableHash
from ..wire.constants import ALG, CC
from .entities import Encoding, Hierarchy, LoadedObject, NvIndex
from .sessions import Session

MAX_LOADED_OBJECTS = 3
MAX_LOADED_SESSIONS = 3
MAX_ACTIVE_SESSIONS = 64
PCR_COUNT = 24


@dataclass(slots=True)
class DictionaryAttack:
    """Parameters and counters of the dictionary attack logic (Part 1, 16.8)."""

    failed_tries: int = 0
    max_tries: int = 3
    recovery_time: int = 1000
    """Seconds until one failed try is forgiven."""
    lockout_recovery: int = 1000
    """Seconds until lockoutAuth may be tried again; 0: a reset is needed."""
    lockout_auth_enabled: bool = True
    encoding: Encoding = field(
        default=None, repr=False, compare=False, metadata={"cache": True, "encoded": True}
    )


@dataclass(slots=True)
class PermanentState:
    """State that only its own commands change (Part 1, 34.5).

    Every change is announced by `Tpm.begin_nv_update`, and is durable before the response.
    """

    owner: Hierarchy
    endorsement: Hierarchy
    platform: Hierarchy
    """Startup(CLEAR) empties the platform's authValue and authPolicy."""
    lockout: Hierarchy
    pcr_allocation: dict[int, int]
    """Bank to a bitmap of its PCRs; in force since the last _TPM_Init."""
    pcr_allocation_next: dict[int, int]
    """What TPM2_PCR_Allocate chose for the next _TPM_Init."""
    dictionary_attack: DictionaryAttack = field(default_factory=DictionaryAttack)
    disable_clear: bool = False
    orderly: int | None = None
    """TPM_SU_* of a TPM2_Shutdown that is still valid; None: not orderly."""
    startup_locality: int = 0
    startup_h_crtm: bool = False
    """With `startup_locality`, the origin of the last TPM2_Startup: a resume must match."""
    da_used: bool = False
    """A DA-protected authValue has been used since the last orderly shutdown."""
    total_reset_count: int = 0
    reset_count: int = 0
    clock: int = 0
    """In ms."""
    clock_safe: bool = True
    clock_adjustment: int = 0
    """Units of 10 ppm by which TPM2_ClockRateAdjust made Clock and Time run faster."""
    failure_timer: int = 0
    """Time when a failed try was last counted or forgiven; negative if before _TPM_Init."""
    lockout_timer: int = 0
    """Time when lockoutAuth last failed; negative if before _TPM_Init."""
    shutdown_time: int = 0
    """Time of the last TPM2_Shutdown."""
    nv: dict[int, NvIndex] = field(default_factory=dict)
    nv_max_counter: int = 0
    """The largest value a deleted counter index has had."""
    objects: dict[int, LoadedObject] = field(default_factory=dict)
    audit_hash: int = ALG.SHA512
    audit_commands: list[int] = field(default_factory=list)
    audit_counter: int = 0
    pp_commands: list[int] = field(default_factory=lambda: [int(CC.PP_COMMANDS)])
    algorithm_set: int = 0
    pcr_policy_alg: int = ALG.NULL
    pcr_policy: bytes = b""
    """authPolicy of the PCRs that can have one."""


@dataclass(slots=True)
class ResetState:
    """Kept over TPM Resume and TPM Restart; renewed by TPM Reset (Part 1, 34.4.4)."""

    null: Hierarchy
    context_key: bytes = field(repr=False)
    clear_count: int = 0
    restart_count: int = 0
    object_context_counter: int = 0
    context_counter: int = 0
    saved_sessions: dict[int, int] = field(default_factory=dict)
    """The context ID of the only valid context of each session that is not loaded, by handle."""
    command_audit_digest: bytes = b""
    pcr_update_counter: int = 0
    commit_counter: int = 0
    commit_nonce: bytes = field(default=b"", repr=False)
    commit_array: bytes = b""


@dataclass(slots=True)
class Countdown:
    """The state of an authenticated countdown timer (Part 1, clause 40)."""

    policy_alg: int = ALG.NULL
    auth_policy: bytes = b""
    ends: int = 0
    """In ms of Time; 0: it is not counting."""
    signaled: bool = False
    preserve_signaled: bool = False
    set_since_startup: bool = False
    saved: int = 0
    """Seconds left when TPM2_Shutdown(STATE) came."""


@dataclass(slots=True)
class ClearState:
    """Kept over TPM Resume only (Part 1, 34.4.3)."""

    owner_enabled: bool = True
    endorsement_enabled: bool = True
    platform_nv_enabled: bool = True
    read_only: bool = False
    countdowns: dict[int, Countdown] = field(default_factory=dict)
    """Of all timers used so far, by handle."""
    pcr_saved: dict[int, dict[int, bytes]] = field(default_factory=dict)
    """By bank, the values of the PCRs that Shutdown(STATE) preserves."""
    pcr_auth_value: bytes = field(default=b"", repr=False)
    """Of the PCRs that can have one."""


@dataclass(slots=True)
class VolatileState:
    """Lost whenever the TPM is powered off (Part 1, 8.6)."""

    started: bool = False
    started_orderly: bool = True
    """A TPM2_Shutdown preceded the last TPM2_Startup."""
    pcr_allocation_pending: bool = False
    """TPM2_PCR_Allocate has been used since _TPM_Init: no state can be saved."""
    time: int = 0
    """In ms since _TPM_Init."""
    time_epoch: int = 0
    """Random: tells one power cycle from another in tickets and policy timeouts."""
    platform_enabled: bool = True
    pcrs: dict[int, list[bytes]] = field(default_factory=dict)
    """Bank to the values of its PCRs."""
    objects: dict[int, LoadedObject] = field(default_factory=dict)
    sessions: dict[int, Session] = field(default_factory=dict)
    exclusive_audit_session: int | None = None
    h_crtm: bool = False
    """H-CRTM events have been measured since _TPM_Init."""
    event_hashes: list[ResumableHash] = field(default_factory=list)
    """One for each bank, between _TPM_Hash_Start and _TPM_Hash_End."""
    established: bool = False
    """A D-RTM event has happened (PC Client profile, TPM_ACCESS)."""


@dataclass(slots=True)
class OrderlyState:
    """The permanent state that changes without being stored each time (Part 1, 34.4.2)."""

    clock: int
    clock_safe: bool
    nv: dict[int, NvIndex]
    """Indices with TPMA_NV_ORDERLY."""
    clock_adjustment: int = 0

"""The state of one TPM, grouped by how long it lives (Part 1, clause 12).

Data only: the rules that read and change it are in ``core``. ``snapshot`` encodes every
dataclass found here by its field names and types, so a field is declared once.

A field with ``repr=False`` holds a secret or something that leads to one.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from .crypto.cmac import Cmac
from .crypto.hashes import digest
from .crypto.resumable import ResumableHash, ResumableHmac
from .crypto.rsa import RsaKey
from .profile import Profile
from .rc import RC, TpmError
from .wire.attributes import TPMA_NV, TPMA_OBJECT
from .wire.constants import ALG, CC, RH, SE
from .wire.nv import TPMS_NV_PUBLIC
from .wire.objects import TPMT_PUBLIC, TPMT_SENSITIVE

MAX_LOADED_OBJECTS = 3
MAX_LOADED_SESSIONS = 3
MAX_ACTIVE_SESSIONS = 64
PCR_COUNT = 24


@dataclass(slots=True)
class Hierarchy:
    """A hierarchy or lockout: what authorizes it and what its keys are derived from."""

    handle: int
    auth_value: bytes = field(default=b"", repr=False)
    policy_alg: int = ALG.NULL
    auth_policy: bytes = b""
    seed: bytes = field(default=b"", repr=False)
    seed_level: int = 1
    """libtpms' seed compatibility level: 0 only for seeds taken over from old instances."""
    proof: bytes = field(default=b"", repr=False)
    enabled: bool = True

    @property
    def name(self) -> bytes:
        return self.handle.to_bytes(4)

    @property
    def da_protected(self) -> bool:
        return self.handle == RH.LOCKOUT


@dataclass(slots=True)
class Pcr:
    """One PCR as an entity that a command refers to."""

    handle: int
    auth_value: bytes = field(default=b"", repr=False)
    policy_alg: int = ALG.NULL
    auth_policy: bytes = b""

    @property
    def name(self) -> bytes:
        return self.handle.to_bytes(4)

    @property
    def da_protected(self) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class CountdownTimer:
    """One authenticated countdown timer as an entity that a command refers to."""

    handle: int
    auth_value: bytes = field(repr=False)
    policy_alg: int
    auth_policy: bytes
    auth_value_available: bool

    @property
    def name(self) -> bytes:
        return self.handle.to_bytes(4)

    @property
    def da_protected(self) -> bool:
        return False


@dataclass(slots=True)
class Sequence:
    """A hash, HMAC or event sequence (Part 1, clause 32)."""

    auth_value: bytes = field(repr=False)
    hashes: list[ResumableHash] = field(default_factory=list)
    """One for a hash sequence; one for each bank that there may be for an event sequence."""
    hmac: ResumableHmac | None = field(default=None, repr=False)
    cmac: Cmac | None = field(default=None, repr=False)
    is_event: bool = False
    started: bool = False
    """It has been given its first block of data."""
    ticket_safe: bool = False
    """The first block shows that the digest is not one of a structure of the TPM's own."""


@dataclass(slots=True)
class LoadedObject:
    """An object in a transient slot or a persistent one.

    A sequence object has a public area of type TPM_ALG_NULL, as in Part 1, clause 32.
    """

    public: TPMT_PUBLIC
    sensitive: TPMT_SENSITIVE | None = field(repr=False)
    name: bytes
    qualified_name: bytes
    hierarchy: int
    """TPM_RH_* of the hierarchy it belongs to; TPM_RH_NULL for external objects."""
    handle: int = 0
    primary: bool = False
    external: bool = False
    temporary: bool = False
    """An ancestor has stClear, or the hierarchy is NULL: it can't be made persistent."""
    st_clear: bool = False
    """It or an ancestor has stClear: saved contexts end with Startup(CLEAR) (Part 1, 22.2.2)."""
    sequence: Sequence | None = field(default=None, repr=False)
    rsa_key: RsaKey | None = field(
        default=None, repr=False, compare=False, metadata={"cache": True}
    )

    def at_handle(self, handle: int) -> "LoadedObject":
        """The same object under another handle."""
        return replace(self, handle=handle)

    @property
    def auth_value(self) -> bytes:
        if self.sequence is not None:
            return self.sequence.auth_value
        return self.sensitive.auth_value.rstrip(b"\0") if self.sensitive is not None else b""

    @property
    def policy_alg(self) -> int:
        return self.public.name_alg

    @property
    def auth_policy(self) -> bytes:
        return self.public.auth_policy

    @property
    def da_protected(self) -> bool:
        return self.sequence is None and not self.public.object_attributes & TPMA_OBJECT.NO_DA


@dataclass(slots=True)
class NvIndex:
    """An NV Index: public area, authValue and contents (Part 1, clause 34).

    ``data`` always has ``public.data_size`` octets; what it holds before TPMA_NV_WRITTEN is
    meaningless.
    """

    public: TPMS_NV_PUBLIC
    auth_value: bytes = field(repr=False)
    data: bytes = field(repr=False)

    @property
    def handle(self) -> int:
        return self.public.nv_index

    @property
    def name(self) -> bytes:
        public = self.public
        return public.name_alg.to_bytes(2) + digest(public.name_alg, public.marshal())

    @property
    def policy_alg(self) -> int:
        return self.public.name_alg

    @property
    def auth_policy(self) -> bytes:
        return self.public.auth_policy

    @property
    def da_protected(self) -> bool:
        return not self.public.attributes & TPMA_NV.NO_DA

    @property
    def nt(self) -> int:
        """TPM_NT: what kind of index it is."""
        return (self.public.attributes & TPMA_NV.NT) >> TPMA_NV.NT_SHIFT

    def has(self, attribute: int) -> bool:
        """Whether a TPMA_NV bit is SET."""
        return bool(self.public.attributes & attribute)


@dataclass(slots=True)
class PolicyState:
    """What the assertions of a policy session require of the command it will authorize.

    The fields are the session context of Part 1, 19.7; ``core.policy`` sets them and
    ``core.authorization`` checks them.
    """

    digest: bytes
    command_code: int = 0
    bound_hash: bytes = b""
    """cpHash, nameHash, parameters hash or template hash, as ``bound_kind`` says."""
    bound_kind: str = ""
    """"" | "cp_hash" | "name_hash" | "parameters" | "template"."""
    pcr_update_counter: int | None = None
    locality: int = 0
    """TPMA_LOCALITY; 0: any."""
    timeout: int = 0
    """In ms of Time; 0: none."""
    password_needed: bool = False
    auth_value_needed: bool = False
    physical_presence_needed: bool = False
    nv_written: bool | None = None


@dataclass(slots=True)
class Session:
    """A loaded authorization session (Part 1, clause 19.6)."""

    handle: int
    type: int
    """TPM_SE_*."""
    auth_hash: int
    nonce_tpm: bytes
    session_key: bytes = field(repr=False)
    symmetric_alg: int = ALG.NULL
    symmetric_bits: int = 0
    """Key size in bits, or the hash of the XOR obfuscation."""
    start_time: int = 0
    """Time when ``nonce_tpm`` of a policy session was made, in ms."""
    epoch: int = 0
    """``VolatileState.time_epoch`` at that time: in another one, Time can't be compared."""
    context_id: int = 0
    is_bound: bool = False
    bound_name: bytes = b""
    bound_auth_value: bytes = field(default=b"", repr=False)
    is_da_bound: bool = False
    is_lockout_bound: bool = False
    is_audit: bool = False
    audit_digest: bytes = b""
    policy: PolicyState | None = None
    """None for an HMAC session."""

    @property
    def name(self) -> bytes:
        return self.handle.to_bytes(4)

    @property
    def is_trial(self) -> bool:
        return self.type == SE.TRIAL


@dataclass(slots=True)
class SavedContext:
    """What a saved context holds: one of the two."""

    object: LoadedObject | None = None
    session: Session | None = None


@dataclass(slots=True)
class DictionaryAttack:
    """Parameters and counters of the dictionary attack logic (Part 1, 19.8)."""

    failed_tries: int = 0
    max_tries: int = 3
    recovery_time: int = 1000
    """Seconds until one failed try is forgiven."""
    lockout_recovery: int = 1000
    """Seconds until lockoutAuth may be tried again; 0: a reset is needed."""
    lockout_auth_enabled: bool = True


@dataclass(slots=True)
class PermanentState:
    """What survives everything but its own commands (Part 1, 12.2).

    Every change is announced by :meth:`Tpm.begin_nv_update`, and is durable before the answer.
    """

    owner: Hierarchy
    endorsement: Hierarchy
    platform: Hierarchy
    """authValue and authPolicy of the platform go back to empty at Startup(CLEAR)."""
    lockout: Hierarchy
    pcr_allocation: dict[int, int]
    """Bank to a bitmap of its PCRs; in force since the last _TPM_Init."""
    pcr_allocation_next: dict[int, int]
    """What TPM2_PCR_Allocate chose for the next _TPM_Init."""
    dictionary_attack: DictionaryAttack = field(default_factory=DictionaryAttack)
    disable_clear: bool = False
    orderly: int | None = None
    """TPM_SU_* of the TPM2_Shutdown that nothing has followed; None: not orderly."""
    startup_locality: int = 0
    startup_h_crtm: bool = False
    """From where, and after what, the last TPM2_Startup came: a resume must match."""
    da_used: bool = False
    """A DA-protected authValue has been used since the last orderly shutdown."""
    total_reset_count: int = 0
    reset_count: int = 0
    clock: int = 0
    """In ms."""
    clock_safe: bool = True
    clock_rate: int = 0
    """-3 (slowest) to +3, as TPM2_ClockRateAdjust left it."""
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
    primary_epoch: int = 0
    """Counts TPM2_Clear, ChangeEPS and ChangePPS: old cached primaries are not found again."""


@dataclass(slots=True)
class ResetState:
    """Kept over TPM Resume and TPM Restart; renewed by TPM Reset (Part 1, 12.2.4)."""

    null: Hierarchy
    context_key: bytes = field(repr=False)
    clear_count: int = 0
    restart_count: int = 0
    object_context_counter: int = 0
    context_counter: int = 0
    saved_sessions: dict[int, int] = field(default_factory=dict)
    """Handle of a session that is not loaded to the context ID of its only valid context."""
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
    """Kept over TPM Resume only (Part 1, 12.2.4)."""

    owner_enabled: bool = True
    endorsement_enabled: bool = True
    platform_nv_enabled: bool = True
    read_only: bool = False
    countdowns: dict[int, Countdown] = field(default_factory=dict)
    """Of the timers that were ever used, by handle."""
    pcr_saved: dict[int, dict[int, bytes]] = field(default_factory=dict)
    """Bank to PCR to value, of the PCRs that Shutdown(STATE) preserves."""
    pcr_auth_value: bytes = field(default=b"", repr=False)
    """Of the PCRs that can have one."""


@dataclass(slots=True)
class VolatileState:
    """Lost whenever the TPM is powered off (Part 1, 12.3)."""

    started: bool = False
    startup_type: int | None = None
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
    """The part of the permanent state that is stored only at an orderly shutdown."""

    clock: int
    clock_safe: bool
    nv: dict[int, NvIndex]
    """Indices with TPMA_NV_ORDERLY."""


@dataclass(slots=True)
class Tpm:
    """One TPM: its state, its profile, and the ports to the outside."""

    profile: Profile
    permanent: PermanentState
    reset: ResetState
    clear: ClearState
    volatile: VolatileState
    entropy: Callable[[int], bytes]
    """Octets from the host's cryptographic random generator."""
    now: Callable[[], int]
    """The host's monotonic clock in ms."""
    locality: int = 0
    """Of the command in flight."""
    nv_available: bool = True
    nv_dirty: bool = False
    failed: bool = False
    canceled: bool = False
    audit_hash_changed: bool = False
    """By the command in flight, which therefore is not audited itself."""
    stir_pool: bytes = field(default=b"", repr=False)
    primary_cache: dict[bytes, Any] = field(
        default_factory=dict, repr=False, metadata={"cache": True}
    )
    """Key material of the Primary Objects created last, kept by ``core.creation``."""
    last_now: int = 0

    def require_nv(self) -> None:
        """Raise TpmError(RC.NV_UNAVAILABLE) when the host can't store."""
        if not self.nv_available:
            raise TpmError(RC.NV_UNAVAILABLE)

    def begin_nv_update(self) -> None:
        """Announce a change of the permanent state: called after the last check, before the change.

        Raises TpmError(RC.NV_UNAVAILABLE) when the host can't store it.
        """
        self.require_nv()
        self.nv_dirty = True

    def random(self, size: int) -> bytes:
        """``size`` random octets: the host's, mixed with what TPM2_StirRandom was given."""
        octets = self.entropy(size)
        if not self.stir_pool:
            return octets
        self.stir_pool = digest(ALG.SHA512, self.stir_pool, octets[:64])
        mask = b""
        while len(mask) < size:
            mask += digest(ALG.SHA512, b"vtpmd random", self.stir_pool, len(mask).to_bytes(4))
        return bytes(a ^ b for a, b in zip(octets, mask, strict=False))

    def should_stop(self) -> bool:
        """Whether the host has asked to cancel the command in flight."""
        return self.canceled


Entity = Hierarchy | Pcr | LoadedObject | NvIndex | CountdownTimer
"""What can be authorized by its authValue or authPolicy."""

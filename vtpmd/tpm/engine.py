"""The engine as its host sees it.

The host passes in octets, the time and entropy, and gets octets; it stores `Reply.nv` before it
releases `Reply.response`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal

from . import dispatch, endorsement, identity
from .call import command_without_handles
from .command import LONG as LONG_COMMANDS
from .core import countdown, dictionary_attack, pcrs, power
from .crypto.hashes import HASHES
from .crypto.resumable import ResumableHash
from .defect import describe
from .facts import Facts, bank_names, facts_of, profile_names, rsa_key_sizes, state_format
from .identity import EndorsementKey, IdentityError
from .manufacture import manufacture
from .naming import command_name, response_name
from .profile import Profile, ProfileError, named
from .rc import RC, EngineError
from .response import error_response as refusal
from .snapshot import StateError, decode, encode
from .state import StoredState, SuspendedState, Tpm, VolatileState
from .warm_up import compile_ahead
from .wire.attributes import TPMA_NV
from .wire.constants import CC, RH, SU

__all__ = [
    "LONG_COMMANDS",
    "RC",
    "EndorsementKey",
    "Engine",
    "EngineError",
    "Facts",
    "IdentityError",
    "ProfileError",
    "Reply",
    "StartupType",
    "StateError",
    "bank_names",
    "command_name",
    "compile_ahead",
    "profile_names",
    "refusal",
    "response_name",
    "rsa_key_sizes",
    "state_format",
]

StartupType = Literal["clear", "state"]
"""TPM_SU_CLEAR, TPM_SU_STATE: what TPM2_Startup and TPM2_Shutdown do with the state."""
_SU: Final[dict[StartupType, SU]] = {"clear": SU.CLEAR, "state": SU.STATE}

_ESTABLISHED_RESET_LOCALITIES = (3, 4)


@dataclass(slots=True)
class Reply:
    """A response, and the permanent state to make durable before it is sent."""

    response: bytes = field(repr=False)
    nv: bytes | None = field(default=None, repr=False)


class Engine:
    """One TPM. Not thread safe, except `cancel`."""

    def __init__(self, tpm: Tpm) -> None:
        self._tpm = tpm
        self.buffer_size = tpm.buffer_size
        self.running = False
        self.defect: str | None = None
        """The frames of an internal failure, which put the TPM into failure mode."""

    @classmethod
    def manufacture(
        cls,
        profile_name: str,
        pcr_banks: Sequence[str],
        entropy: Callable[[int], bytes],
        now: Callable[[], int],
        *,
        persistent_eks: bool = True,
    ) -> "Engine":
        """A new TPM with its own seeds, powered off, and with EKs at their persistent handles.

        Without `persistent_eks` those handles are free, for whoever sets the TPM up.

        `now` is a monotonic clock in ms. Raises ProfileError for an unknown profile or bank.
        """
        profile = named(profile_name)
        by_name = {found.name: alg for alg, found in HASHES.items() if alg in profile.pcr_banks}
        unknown = [name for name in pcr_banks if name not in by_name]
        if unknown or not pcr_banks:
            raise ProfileError(f"PCR banks are chosen from {', '.join(by_name)}, not {unknown}")
        banks = [by_name[name] for name in pcr_banks]
        return cls(manufacture(profile, banks, entropy, now, persistent_eks=persistent_eks))

    @classmethod
    def restore(
        cls, permanent: bytes, entropy: Callable[[int], bytes], now: Callable[[], int]
    ) -> "Engine":
        """A TPM from its permanent state, powered off. Raises StateError."""
        profile, stored = decode("permanent", permanent, StoredState)
        return cls(
            Tpm(
                profile=profile,
                permanent=stored.permanent,
                reset=stored.reset,
                clear=stored.clear,
                volatile=VolatileState(),
                entropy=entropy,
                now=now,
            )
        )

    @property
    def profile(self) -> Profile:
        """What this TPM has, of what it was manufactured with, with this buffer."""
        return self._tpm.profile

    @property
    def facts(self) -> Facts:
        """What this TPM reports about itself and never changes."""
        return facts_of(self._tpm.profile)

    @property
    def pcr_banks(self) -> tuple[str, ...]:
        """The names of the PCR banks that it has."""
        return tuple(HASHES[bank].name for bank in pcrs.banks(self._tpm))

    def permanent(self) -> bytes:
        """The encoded state that survives a power cycle."""
        tpm = self._tpm
        return encode(
            "permanent", tpm.profile.name, StoredState(tpm.permanent, tpm.reset, tpm.clear)
        )

    def volatile(self) -> bytes:
        """The encoded state that a power cycle would lose."""
        tpm = self._tpm
        power.tick(tpm)
        return encode(
            "volatile",
            tpm.profile.name,
            SuspendedState(tpm.reset, tpm.clear, tpm.volatile, power.orderly_state(tpm)),
        )

    def power_on(self, volatile: bytes | None = None, since: int | None = None) -> None:
        """_TPM_Init; with a volatile state, continue where it was saved. Raises StateError.

        With `since`, by the clock `now`, as if it had been on from then to now.
        """
        if volatile is None:
            power.init(self._tpm)
        else:
            profile, suspended = decode("volatile", volatile, SuspendedState)
            if profile.name != self.profile.name:
                raise StateError("damaged", "the volatile state is that of another profile")
            power.resume_volatile(self._tpm, suspended, since)
        self.running = True
        self.defect = None

    def power_off(self) -> None:
        """Power off: everything outside the permanent state is lost."""
        self.running = False
        self._tpm.volatile = VolatileState()

    def execute(self, command: bytes, locality: int) -> Reply:
        """Run one command. Never raises, whatever a guest sends."""
        answer = self.answer(command, locality)
        return answer if isinstance(answer, Reply) else Reply(answer)

    def answer(self, command: bytes, locality: int) -> bytes | Reply:
        """The same, without a `Reply` where a response is all there is: as a rule.

        There is more to see to when the state has changed, or the TPM is in failure mode.
        """
        tpm = self._tpm
        try:
            power.tick(tpm)
            tpm.locality = locality
            tpm.canceled = False
            if tpm.volatile.event_hashes:
                tpm.volatile.event_hashes = []
            response = dispatch.execute(tpm, command)
            if tpm.nv_dirty or tpm.failed:
                return Reply(response, self._changed())
            return response
        except Exception as error:
            self._fail(error)
            return Reply(refusal(RC.FAILURE))

    def tick(self) -> Reply:
        """Let Time and Clock go on to now, and whatever waits for them, without a command."""
        if self.running and not self.failed:
            power.tick(self._tpm)
        return Reply(b"", self._changed())

    @property
    def next_timer_end(self) -> int | None:
        """Milliseconds, from the last `tick` on, until a countdown timer ends; None: none runs."""
        return countdown.next_end(self._tpm)

    def startup(self, kind: StartupType, locality: int = 0) -> Reply:
        """Run TPM2_Startup on behalf of the guest."""
        return self.execute(command_without_handles(CC.STARTUP, _SU[kind].to_bytes(2)), locality)

    def shutdown(self, kind: StartupType) -> Reply:
        """Run TPM2_Shutdown on behalf of the guest."""
        return self.execute(command_without_handles(CC.SHUTDOWN, _SU[kind].to_bytes(2)), 0)

    def hash_start(self) -> Reply:
        """_TPM_Hash_Start: a D-RTM event, or an H-CRTM event before TPM2_Startup.

        Any command aborts the event, which is then not measured.
        """
        tpm = self._tpm
        tpm.volatile.established = True
        tpm.volatile.event_hashes = [ResumableHash(bank) for bank in pcrs.banks(tpm)]
        return Reply(b"", self._changed())

    def hash_data(self, data: bytes) -> None:
        """_TPM_Hash_Data; ignored outside of an event."""
        for event_hash in self._tpm.volatile.event_hashes:
            event_hash.update(data)

    def hash_end(self) -> Reply:
        """_TPM_Hash_End: extend PCR 17, or PCR 0 before TPM2_Startup."""
        tpm = self._tpm
        if tpm.volatile.event_hashes:
            measured = {h.alg: h.digest() for h in tpm.volatile.event_hashes}
            tpm.volatile.event_hashes = []
            pcrs.measure_event(tpm, measured)
            if tpm.volatile.started and tpm.nv_available:
                power.end_orderly(tpm)
        return Reply(b"", self._changed())

    @property
    def established(self) -> bool:
        """TPM_ACCESS' tpmEstablishment: a D-RTM event has happened."""
        return self._tpm.volatile.established

    def reset_established(self, locality: int) -> bool:
        """Clear `established`; only localities 3 and 4 may."""
        if locality not in _ESTABLISHED_RESET_LOCALITIES:
            return False
        self._tpm.volatile.established = False
        return True

    def cancel(self) -> None:
        """End a long command in flight with TPM_RC_CANCELED. May be called from any thread."""
        self._tpm.canceled = True

    @property
    def shutdown_needed(self) -> bool:
        """Whether powering off now would be a disorderly shutdown."""
        return (
            self.running
            and self._tpm.volatile.started
            and not self._tpm.failed
            and self._tpm.permanent.orderly is None
        )

    @property
    def failed(self) -> bool:
        """Whether the TPM is in failure mode."""
        return self._tpm.failed

    @property
    def nv_available(self) -> bool:
        """Set by the host to False while it can't store: commands that write NV then fail."""
        return self._tpm.nv_available

    @nv_available.setter
    def nv_available(self, available: bool) -> None:
        self._tpm.nv_available = available

    @property
    def buffer_size(self) -> int:
        """Set by the host: TPM_PT_MAX_COMMAND_SIZE and TPM_PT_MAX_RESPONSE_SIZE, in octets."""
        return self._tpm.buffer_size

    @buffer_size.setter
    def buffer_size(self, size: int) -> None:
        tpm = self._tpm
        profile = named(tpm.profile.name)
        tpm.buffer_size = min(size, profile.buffer_sizes[1])
        tpm.profile = profile.within(tpm.buffer_size)

    @property
    def buffer_sizes(self) -> tuple[int, int]:
        """The smallest and the largest `buffer_size` that it works with."""
        return named(self._tpm.profile.name).buffer_sizes

    def enter_failure_mode(self) -> None:
        """Enter failure mode, because the host could not store: only TPM_RC_FAILURE from now on."""
        self._tpm.failed = True

    @property
    def owner_objects(self) -> int:
        """How many persistent objects there are besides endorsement keys."""
        objects = self._tpm.permanent.objects.values()
        return sum(held.hierarchy != RH.ENDORSEMENT for held in objects)

    @property
    def owner_indices(self) -> int:
        """How many NV Indices there are that the platform did not define."""
        return sum(
            not index.has(TPMA_NV.PLATFORMCREATE) for index in self._tpm.permanent.nv.values()
        )

    @property
    def failed_tries(self) -> int:
        """How many authorizations have failed that count (Part 1, 16.8)."""
        return self._tpm.permanent.dictionary_attack.failed_tries

    @property
    def in_lockout(self) -> bool:
        """Whether they are so many that no more are allowed, or lockoutAuth has failed."""
        enabled = self._tpm.permanent.dictionary_attack.lockout_auth_enabled
        return dictionary_attack.in_lockout(self._tpm) or not enabled

    def reset_lockout(self) -> Reply:
        """Do what TPM2_DictionaryAttackLockReset does, for whoever needs no lockoutAuth for it.

        It is no command: a TPM2_Shutdown that is in force stays so (Part 3, 25.2).
        """
        if self.failed_tries or self.in_lockout:
            self._tpm.nv_dirty = True
            dictionary_attack.reset(self._tpm)
        return Reply(b"", self._changed())

    def pcr_values(self) -> dict[str, dict[int, bytes]]:
        """Bank name to PCR to value; empty before TPM2_Startup."""
        tpm = self._tpm
        if not tpm.volatile.started:
            return {}
        return {
            HASHES[bank].name: {
                pcr: value for pcr, value in enumerate(values) if pcrs.is_allocated(tpm, bank, pcr)
            }
            for bank, values in tpm.volatile.pcrs.items()
        }

    @property
    def seed_name(self) -> bytes:
        """What names the endorsement primary seed (32 octets): the EKs change with it only."""
        return endorsement.seed_name(self._tpm)

    def endorsement_keys(
        self, kinds: Sequence[str], moduli: Mapping[str, int] = MappingProxyType({})
    ) -> dict[str, EndorsementKey]:
        """The EKs of these kinds ("rsa-2048", "ecc-p256", "ecc-p384"), as far as it can have them.

        An RSA key that was not asked for lately takes as long as TPM2_CreatePrimary, a tenth of
        that where `moduli` has its own by kind. They are not believed.
        """
        return identity.endorsement_keys(self._tpm, kinds, moduli)

    def certificate_request(self, kind: str, subject: str) -> bytes:
        """A PKCS#10 request (DER) for the EK of a kind; an empty `subject` is none."""
        return identity.certificate_request(self._tpm, kind, subject)

    def install_certificates(
        self, certificates: Mapping[str, bytes], chain: Sequence[bytes]
    ) -> Reply:
        """Put EK certificates (DER) by kind, and those of the authorities above, in place of all.

        Raises IdentityError: then nothing has changed.
        """
        identity.install(self._tpm, certificates, chain)
        return Reply(b"", self._changed())

    def installed_certificates(self) -> dict[str, bytes]:
        """The SHA-256 of each EK certificate in NV by kind, and of all of the "chain"."""
        return identity.installed(self._tpm)

    def _changed(self) -> bytes | None:
        """The state to store, if it changed; never in failure mode, when it may be inconsistent."""
        if not self._tpm.nv_dirty or self._tpm.failed:
            return None
        self._tpm.nv_dirty = False
        return self.permanent()

    def _fail(self, error: Exception) -> None:
        self.defect = describe(error)
        self._tpm.failed = True
        self._tpm.nv_dirty = False

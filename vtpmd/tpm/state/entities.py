"""Entities: what handles of commands refer to, and sessions authorize."""

from dataclasses import dataclass, field, replace

from ..crypto import mldsa, mlkem
from ..crypto.cmac import Cmac
from ..crypto.hashes import HmacKey, digest
from ..crypto.primes import LEVEL
from ..crypto.resumable import ResumableHash, ResumableHmac, ResumableShake256
from ..crypto.rsa import RsaKey
from ..wire.attributes import TPMA_NV, TPMA_OBJECT
from ..wire.constants import ALG, RH
from ..wire.nv import TPMS_NV_PUBLIC
from ..wire.objects import TPMT_PUBLIC, TPMT_SENSITIVE

# Looking up a member of an Enum takes 0.1 µs in Python 3.11: many commands need this.
_LOCKOUT = int(RH.LOCKOUT)

Encoding = tuple[tuple[object, ...], bytes] | None
"""What values a dataclass had when it was encoded last, and the octets; kept by `schema`."""


@dataclass(slots=True)
class Hierarchy:
    """A hierarchy or lockout: what authorizes it and what its keys are derived from."""

    handle: int
    auth_value: bytes = field(default=b"", repr=False)
    policy_alg: int = ALG.NULL
    auth_policy: bytes = b""
    seed: bytes = field(default=b"", repr=False)
    seed_level: int = LEVEL
    """libtpms' seed compatibility level: 0 only for seeds taken over from old instances."""
    proof: bytes = field(default=b"", repr=False)
    encoding: Encoding = field(
        default=None, repr=False, compare=False, metadata={"cache": True, "encoded": True}
    )

    @property
    def name(self) -> bytes:
        return self.handle.to_bytes(4)

    def is_da_protected(self) -> bool:
        return self.handle == _LOCKOUT


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

    def is_da_protected(self) -> bool:
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

    def is_da_protected(self) -> bool:
        return False


@dataclass(slots=True)
class SignatureSequence:
    """What a sequence has for signing a message or verifying its signature (Part 1, 29.4.5)."""

    key: bytes
    """A digest of the key that it was started with."""
    verifies: bool
    context: bytes = b""
    mu: ResumableShake256 | None = None
    """What becomes mu of the message, for ML-DSA; on Curve448 what becomes its digest.

    Other schemes need its digest or HMAC. The name is older than the second use, and is stored.
    """
    ticket: ResumableHmac | None = field(default=None, repr=False)
    """What proves the message when it is verified."""


@dataclass(slots=True)
class Sequence:
    """A hash, HMAC, event or signature sequence (Part 1, 29.4)."""

    auth_value: bytes = field(repr=False)
    hashes: list[ResumableHash] = field(default_factory=list)
    """One for a hash sequence, one for each possible bank for an event sequence."""
    hmac: ResumableHmac | None = field(default=None, repr=False)
    cmac: Cmac | None = field(default=None, repr=False)
    is_event: bool = False
    started: bool = False
    """It has received its first block of data."""
    ticket_safe: bool = False
    """The first block shows that the data is not a structure made by the TPM."""
    signature: SignatureSequence | None = None


@dataclass(slots=True)
class LoadedObject:
    """An object in a transient slot or a persistent one.

    A sequence object has a public area of type TPM_ALG_NULL, as in the reference implementation.
    Its areas are never changed: their octets are kept once they were needed or read.
    """

    public: TPMT_PUBLIC = field(metadata={"kept": "public_octets"})
    sensitive: TPMT_SENSITIVE | None = field(repr=False, metadata={"kept": "sensitive_octets"})
    name: bytes
    qualified_name: bytes
    hierarchy: int
    """TPM_RH_* of the hierarchy it belongs to; the caller's choice for an external object."""
    handle: int = 0
    external: bool = False
    """Nothing of this TPM protects it (Part 1, 26.4)."""
    st_clear: bool = False
    """It or an ancestor has stClear: saved contexts end with Startup(CLEAR) (Part 1, 22.2.2)."""
    sequence: Sequence | None = field(default=None, repr=False)
    rsa_key: RsaKey | None = field(
        default=None, repr=False, compare=False, metadata={"cache": True}
    )
    mlkem_keys: tuple[mlkem.PublicKey | None, mlkem.PrivateKey | None] = field(
        default=(None, None), repr=False, compare=False, metadata={"cache": True}
    )
    mldsa_keys: tuple[mldsa.PublicKey | None, mldsa.PrivateKey | None] = field(
        default=(None, None), repr=False, compare=False, metadata={"cache": True}
    )
    """Of its areas, in the library's form; kept by `core.keys`."""
    public_octets: bytes | None = field(
        default=None, repr=False, compare=False, metadata={"cache": True}
    )
    sensitive_octets: bytes | None = field(
        default=None, repr=False, compare=False, metadata={"cache": True}
    )
    encoding: Encoding = field(
        default=None, repr=False, compare=False, metadata={"cache": True, "encoded": True}
    )
    integrity_key: HmacKey | None = field(
        default=None, repr=False, compare=False, metadata={"cache": True}
    )
    """Of a parent, for the private areas of its children; kept by `core.protection`."""

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

    def is_da_protected(self) -> bool:
        return self.sequence is None and not self.public.object_attributes & TPMA_OBJECT.NO_DA


@dataclass(slots=True)
class NvIndex:
    """An NV Index: public area, authValue and contents (Part 1, clause 34).

    `data` always has `public.data_size` octets; before TPMA_NV_WRITTEN its contents mean
    nothing.
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

    def is_da_protected(self) -> bool:
        return not self.public.attributes & TPMA_NV.NO_DA

    @property
    def nt(self) -> int:
        """TPM_NT: what kind of index it is."""
        return (self.public.attributes & TPMA_NV.NT) >> TPMA_NV.NT_SHIFT

    def has(self, attribute: int) -> bool:
        """Whether a TPMA_NV bit is SET."""
        return bool(self.public.attributes & attribute)


Entity = Hierarchy | Pcr | LoadedObject | NvIndex | CountdownTimer
"""What an authValue or authPolicy can authorize."""

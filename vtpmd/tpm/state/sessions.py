"""Authorization sessions."""

from dataclasses import dataclass, field

from ..crypto.hashes import HmacKey
from ..wire.constants import ALG, SE

_TRIAL = int(SE.TRIAL)


@dataclass(slots=True)
class PolicyState:
    """What the assertions of a policy session require of the command it will authorize.

    The fields are the session context of Part 1, 16.7.8; `core.policy` sets them and
    `core.authorization` checks them.
    """

    digest: bytes
    command_code: int = 0
    bound_hash: bytes = b""
    """cpHash, nameHash, parameters hash or template hash, as `bound_kind` says."""
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
    secure_channel_needed: bool = False


@dataclass(slots=True)
class Session:
    """A loaded authorization session (Part 1, 16.5 and 16.6)."""

    handle: int
    type: int
    """TPM_SE_*."""
    auth_hash: int
    nonce_tpm: bytes
    session_key: bytes = field(repr=False)
    symmetric_alg: int = ALG.NULL
    symmetric_bits: int = 0
    """Key size in bits; without meaning for XOR, whose hash is `auth_hash` (Part 1, 18.2)."""
    start_time: int = 0
    """Time when `nonce_tpm` of a policy session was made, in ms."""
    epoch: int = 0
    """`VolatileState.time_epoch` at that time: in another one, Time can't be compared."""
    is_bound: bool = False
    bound_name: bytes = b""
    bound_auth_value: bytes = field(default=b"", repr=False)
    is_da_bound: bool = False
    is_lockout_bound: bool = False
    is_audit: bool = False
    audit_digest: bytes = b""
    policy: PolicyState | None = None
    """None for an HMAC session."""
    hmac_key: HmacKey | None = field(
        default=None, repr=False, compare=False, metadata={"cache": True}
    )
    """The key that its HMACs were made with last."""

    @property
    def name(self) -> bytes:
        return self.handle.to_bytes(4)

    @property
    def is_trial(self) -> bool:
        return self.type == _TRIAL

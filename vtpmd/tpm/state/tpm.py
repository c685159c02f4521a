"""One TPM, as it is passed to every rule and every command."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..crypto.aead import Aead
from ..crypto.hashes import digest
from ..profile import Profile
from ..rc import RC, TpmError
from ..wire import limits
from ..wire.constants import ALG
from .lifetimes import ClearState, PermanentState, ResetState, VolatileState


@dataclass(slots=True)
class Tpm:
    """One TPM: its state, its profile, and the ports to the outside."""

    profile: Profile
    """What there is with `buffer_size`."""
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
    buffer_size: int = limits.DEFAULT_BUFFER_SIZE
    """Longest command and response that the host's interface passes on, in octets."""
    response_room: int = limits.DEFAULT_BUFFER_SIZE
    """How many octets of handles and parameters the response to the command in flight can have."""
    nv_available: bool = True
    nv_dirty: bool = False
    failed: bool = False
    canceled: bool = False
    stir_pool: bytes = field(default=b"", repr=False)
    primary_cache: dict[bytes, Any] = field(
        default_factory=dict, repr=False, metadata={"cache": True}
    )
    """Key material of the Primary Objects created last, kept by `core.creation`."""
    context_ciphers: dict[int, tuple[bytes, Aead]] = field(
        default_factory=dict, repr=False, metadata={"cache": True}
    )
    """Of the hierarchies whose contexts were saved or loaded last, kept by `core.contexts`."""
    last_now: int = 0
    """When Time last advanced, by `now`."""
    clock_remainder: int = 0
    """The fraction of a ms by which Time is ahead of `VolatileState.time`, in units of 10 ns."""

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
        """`size` random octets: the host's, mixed with what TPM2_StirRandom was given."""
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

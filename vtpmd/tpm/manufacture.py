"""Making a new TPM: seeds, proofs and endorsement keys."""

from collections.abc import Callable, Sequence

from . import commands, dispatch  # noqa: F401 - commands registers every command
from .call import HEADER
from .core import power
from .core.pcrs import ALL
from .endorsement import ECC_EK_TEMPLATE, RSA_EK_TEMPLATE
from .profile import Profile
from .state import ClearState, Hierarchy, PermanentState, Tpm, VolatileState
from .wire.constants import CC, RH, ST, SU

RSA_EK_HANDLE = 0x81010001
ECC_EK_HANDLE = 0x8101000A

_EMPTY_AUTHORIZATION = b"\x00\x00\x00\x09\x40\x00\x00\x09\x00\x00\x00\x00\x00"


def manufacture(
    profile: Profile,
    banks: Sequence[int],
    entropy: Callable[[int], bytes],
    now: Callable[[], int],
    *,
    persistent_eks: bool = True,
) -> Tpm:
    """A TPM as it leaves the factory: powered off, with persistent EKs if they are wanted.

    `banks` are the TPM_ALG_IDs of the PCR banks.
    """

    def with_seed(handle: int) -> Hierarchy:
        return Hierarchy(handle, seed=entropy(power.SEED_SIZE), proof=entropy(power.PROOF_SIZE))

    allocation = {int(bank): ALL if bank in banks else 0 for bank in sorted(profile.pcr_banks)}
    tpm = Tpm(
        profile=profile,
        permanent=PermanentState(
            owner=with_seed(RH.OWNER),
            endorsement=with_seed(RH.ENDORSEMENT),
            platform=with_seed(RH.PLATFORM),
            lockout=Hierarchy(RH.LOCKOUT),
            pcr_allocation=allocation,
            pcr_allocation_next=dict(allocation),
            orderly=SU.CLEAR,
        ),
        reset=power.fresh_reset_state(entropy),
        clear=ClearState(),
        volatile=VolatileState(),
        entropy=entropy,
        now=now,
        last_now=now(),
    )
    if persistent_eks:
        provision_endorsement_keys(tpm)
    return tpm


def provision_endorsement_keys(tpm: Tpm) -> None:
    """Derive the EKs of templates L-1 and L-2 and make them persistent.

    These are the commands that a platform manufacturer would send. The TPM must be powered off,
    and is powered off again afterwards.
    """
    power.init(tpm)
    _run(tpm, CC.STARTUP, SU.CLEAR.to_bytes(2), ())
    for template, persistent in (
        (RSA_EK_TEMPLATE, RSA_EK_HANDLE),
        (ECC_EK_TEMPLATE, ECC_EK_HANDLE),
    ):
        public = template.marshal()
        no_sensitive, nothing_outside, no_pcrs = b"\x00\x04\x00\x00\x00\x00", bytes(2), bytes(4)
        parameters = b"".join(
            (no_sensitive, len(public).to_bytes(2), public, nothing_outside, no_pcrs)
        )
        created = _run(tpm, CC.CREATE_PRIMARY, parameters, (RH.ENDORSEMENT,))
        handle = int.from_bytes(created[:4])
        _run(tpm, CC.EVICT_CONTROL, persistent.to_bytes(4), (RH.OWNER, handle))
        _run(tpm, CC.FLUSH_CONTEXT, handle.to_bytes(4), ())
    _run(tpm, CC.SHUTDOWN, SU.CLEAR.to_bytes(2), ())
    tpm.volatile = VolatileState()
    tpm.nv_dirty = False


def _run(tpm: Tpm, code: int, parameters: bytes, handles: tuple[int, ...]) -> bytes:
    """Execute a command, authorized by an empty password if it has handles; the response's body."""
    area = b"".join(handle.to_bytes(4) for handle in handles)
    tag = ST.SESSIONS if handles else ST.NO_SESSIONS
    body = area + (_EMPTY_AUTHORIZATION if handles else b"") + parameters
    command = HEADER.pack(tag, HEADER.size + len(body), code) + body
    response = dispatch.execute(tpm, command)
    _, _, answer = HEADER.unpack_from(response)
    if answer:
        raise RuntimeError(f"manufacture: command 0x{code:x} answered 0x{answer:x}")
    return response[HEADER.size :]

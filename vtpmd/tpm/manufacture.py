"""Making a new TPM: seeds, proofs and endorsement keys."""

from collections.abc import Callable, Sequence

from .core import power
from .core.endorsement import provision_endorsement_keys
from .core.pcrs import ALL
from .profile import Profile
from .state import ClearState, Hierarchy, PermanentState, Tpm, VolatileState
from .wire.constants import RH


def manufacture(
    profile: Profile,
    banks: Sequence[int],
    entropy: Callable[[int], bytes],
    now: Callable[[], int],
) -> Tpm:
    """A TPM as it leaves the factory, powered off, with its EKs persistent.

    ``banks`` are the TPM_ALG_IDs of the PCR banks.
    """

    def with_seed(handle: int) -> Hierarchy:
        return Hierarchy(handle, seed=entropy(power.SEED_SIZE), proof=entropy(power.PROOF_SIZE))

    allocation = {bank: ALL if bank in banks else 0 for bank in sorted(profile.pcr_banks)}
    permanent = PermanentState(
        owner=with_seed(RH.OWNER),
        endorsement=with_seed(RH.ENDORSEMENT),
        platform=with_seed(RH.PLATFORM),
        lockout=Hierarchy(RH.LOCKOUT),
        pcr_allocation=allocation,
        pcr_allocation_next=dict(allocation),
    )
    tpm = Tpm(
        profile=profile,
        permanent=permanent,
        reset=power.fresh_reset_state(entropy),
        clear=ClearState(),
        volatile=VolatileState(),
        entropy=entropy,
        now=now,
        last_now=now(),
    )
    provision_endorsement_keys(tpm)
    return tpm

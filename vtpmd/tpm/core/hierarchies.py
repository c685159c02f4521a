"""What changes a whole hierarchy: new seeds, new owners, enabling (Part 1, clauses 10 and 11)."""

from ..crypto.primes import LEVEL
from ..state import DictionaryAttack, Hierarchy, Tpm
from ..wire.constants import ALG, RH
from . import nv, objects
from .power import PROOF_SIZE, SEED_SIZE


def set_enabled(tpm: Tpm, enable: int, state: bool) -> None:
    """Enable or disable a hierarchy or the platform's NV indices.

    `enable` is a TPMI_RH_ENABLES. Disabling flushes the transient objects of the hierarchy.
    """
    match enable:
        case RH.OWNER:
            tpm.clear.owner_enabled = state
        case RH.ENDORSEMENT:
            tpm.clear.endorsement_enabled = state
        case RH.PLATFORM_NV:
            tpm.clear.platform_nv_enabled = state
        case _:
            tpm.volatile.platform_enabled = state
    if not state:
        objects.flush_hierarchy(tpm, enable)


def change_platform_seed(tpm: Tpm) -> None:
    """Replace the PPS (Part 3, 24.4). The caller has announced the NV update."""
    _renew(tpm, tpm.permanent.platform)
    _reset_policy(tpm.permanent.platform)
    tpm.permanent.pcr_policy_alg, tpm.permanent.pcr_policy = ALG.NULL, b""
    _forget_objects(tpm, RH.PLATFORM)


def change_endorsement_seed(tpm: Tpm) -> None:
    """Replace the EPS (Part 3, 24.5). The caller has announced the NV update."""
    endorsement = tpm.permanent.endorsement
    _renew(tpm, endorsement)
    _reset_policy(endorsement)
    endorsement.auth_value = b""
    tpm.clear.endorsement_enabled = True
    _forget_objects(tpm, RH.ENDORSEMENT)


def clear(tpm: Tpm) -> None:
    """Remove everything of the owner's (Part 3, 24.6). The caller has announced the NV update.

    The EPS stays, so that the EKs can be derived again; ehProof does not.
    """
    permanent = tpm.permanent
    nv.undefine_owner_indices(tpm)
    for handle in (RH.OWNER, RH.ENDORSEMENT):
        _forget_objects(tpm, handle)
    _renew(tpm, permanent.owner)
    permanent.endorsement.proof = tpm.random(PROOF_SIZE)
    tpm.clear.owner_enabled = tpm.clear.endorsement_enabled = True
    for hierarchy in (permanent.owner, permanent.endorsement, permanent.lockout):
        hierarchy.auth_value = b""
        _reset_policy(hierarchy)
    permanent.dictionary_attack = DictionaryAttack()
    permanent.clock = 0
    permanent.clock_safe = True
    permanent.reset_count = 0
    permanent.audit_counter = 0
    tpm.reset.restart_count = 0
    tpm.clear.pcr_auth_value = b""
    tpm.reset.pcr_update_counter = (tpm.reset.pcr_update_counter + 1) & 0xFFFFFFFF


def _renew(tpm: Tpm, hierarchy: Hierarchy) -> None:
    hierarchy.seed = tpm.random(SEED_SIZE)
    hierarchy.seed_level = LEVEL
    hierarchy.proof = tpm.random(PROOF_SIZE)
    tpm.primary_cache.clear()  # keys of the seed that is gone
    tpm.context_ciphers.clear()


def _reset_policy(hierarchy: Hierarchy) -> None:
    hierarchy.policy_alg, hierarchy.auth_policy = ALG.NULL, b""


def _forget_objects(tpm: Tpm, handle: int) -> None:
    objects.flush_hierarchy(tpm, handle)
    persistent = tpm.permanent.objects
    for kept in [h for h, found in persistent.items() if found.hierarchy == handle]:
        del persistent[kept]

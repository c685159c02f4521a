"""Command audit (Part 1, clause 31)."""

from ..crypto.hashes import digest, digest_size
from ..state import Tpm
from ..wire.constants import CC


def is_audited(tpm: Tpm, code: int) -> bool:
    """Whether command audit is on for a command (TPM2_SetCommandCodeAuditStatus always is)."""
    return code in tpm.permanent.audit_commands or code == CC.SET_COMMAND_CODE_AUDIT_STATUS


def extend(tpm: Tpm, cp_hash: bytes, rp_hash: bytes) -> None:
    """Add a command that succeeded to the audit digest.

    The first extension after the digest was reported starts a new audit sequence.
    """
    alg = tpm.permanent.audit_hash
    if not tpm.reset.command_audit_digest:
        tpm.begin_nv_update()
        tpm.permanent.audit_counter += 1
        tpm.reset.command_audit_digest = bytes(digest_size(alg))
    tpm.reset.command_audit_digest = digest(alg, tpm.reset.command_audit_digest, cp_hash, rp_hash)

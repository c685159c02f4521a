"""Command audit (Part 1, clause 31)."""

from ..crypto.hashes import digest, digest_size
from ..state import Tpm
from ..wire.constants import CC


def is_audited(tpm: Tpm, code: int) -> bool:
    """Whether command audit is on for a command (TPM2_SetCommandCodeAuditStatus always is)."""
    return code in tpm.permanent.audit_commands or code == CC.SET_COMMAND_CODE_AUDIT_STATUS


def commands(tpm: Tpm) -> list[int]:
    """The audited commands, ascending."""
    return sorted({*tpm.permanent.audit_commands, CC.SET_COMMAND_CODE_AUDIT_STATUS})


def command_digest(tpm: Tpm) -> bytes:
    """The digest of the list of audited commands (Part 2, 10.11.5)."""
    return digest(tpm.permanent.audit_hash, *(code.to_bytes(4) for code in commands(tpm)))


def change_hash(tpm: Tpm, hash_alg: int) -> None:
    """Use another hash for the audit digest, which begins anew; the command itself is not in it.

    Raises RC.NV_UNAVAILABLE.
    """
    tpm.begin_nv_update()
    tpm.permanent.audit_hash = hash_alg
    tpm.reset.command_audit_digest = b""
    tpm.audit_hash_changed = True


def change_commands(tpm: Tpm, added: list[int], removed: list[int]) -> None:
    """Audit some more commands, then some less. RC.NV_UNAVAILABLE."""
    changed = sorted({*tpm.permanent.audit_commands, *added} - set(removed))
    if changed != tpm.permanent.audit_commands:
        tpm.begin_nv_update()
        tpm.permanent.audit_commands = changed


def check(tpm: Tpm, code: int) -> None:
    """Raise RC.NV_UNAVAILABLE if a command begins an audit sequence that can't be counted."""
    begins = not tpm.reset.command_audit_digest or code == CC.GET_COMMAND_AUDIT_DIGEST
    if begins and is_audited(tpm, code):
        tpm.require_nv()


def extend(tpm: Tpm, cp_hash: bytes, rp_hash: bytes) -> None:
    """Add a command that succeeded to the audit digest.

    The first extension after the digest was reported starts a new audit sequence.
    """
    if tpm.audit_hash_changed:
        tpm.audit_hash_changed = False
        return
    alg = tpm.permanent.audit_hash
    if not tpm.reset.command_audit_digest:
        tpm.begin_nv_update()
        tpm.permanent.audit_counter += 1
        tpm.reset.command_audit_digest = bytes(digest_size(alg))
    tpm.reset.command_audit_digest = digest(alg, tpm.reset.command_audit_digest, cp_hash, rp_hash)

"""Audit by sessions, and of commands (Part 1, clauses 17 and 32)."""

from ..crypto.hashes import digest, digest_size
from ..state import Session, Tpm
from ..wire.constants import CC

_ALWAYS = int(CC.SET_COMMAND_CODE_AUDIT_STATUS)


def is_exclusive(tpm: Tpm, session: Session) -> bool:
    """Whether every command since this session's audit digest began is in it (Part 1, 17.2)."""
    return tpm.volatile.exclusive_audit_session == session.handle


def end_exclusive(tpm: Tpm) -> None:
    """Record that a command has succeeded outside the exclusive audit session."""
    tpm.volatile.exclusive_audit_session = None


def extend_session(
    tpm: Tpm, session: Session, cp_hash: bytes, rp_hash: bytes, *, restart: bool
) -> None:
    """Add a command that succeeded to a session's audit digest (Part 1, 17.1).

    The first such command makes the session exclusive and removes its binding.
    """
    if restart or not session.is_audit:
        session.is_audit = True
        session.audit_digest = bytes(digest_size(session.auth_hash))
        session.is_bound = False
        tpm.volatile.exclusive_audit_session = session.handle
    elif not is_exclusive(tpm, session):
        end_exclusive(tpm)
    session.audit_digest = digest(session.auth_hash, session.audit_digest, cp_hash, rp_hash)


def is_audited(tpm: Tpm, code: int) -> bool:
    """Whether a command is audited: TPM2_SetCommandCodeAuditStatus always, in failure mode none."""
    return (code in tpm.permanent.audit_commands or code == _ALWAYS) and not tpm.failed


def commands(tpm: Tpm) -> list[int]:
    """The audited commands, ascending."""
    return sorted({*tpm.permanent.audit_commands, _ALWAYS})


def command_digest(tpm: Tpm) -> bytes:
    """The digest of the list of audited commands (Part 2, 10.11.5)."""
    return digest(tpm.permanent.audit_hash, *(code.to_bytes(4) for code in commands(tpm)))


def change_hash(tpm: Tpm, hash_alg: int) -> None:
    """Change the hash of the audit digest, which starts over. RC.NV_UNAVAILABLE."""
    tpm.begin_nv_update()
    tpm.permanent.audit_hash = hash_alg
    tpm.reset.command_audit_digest = b""


def change_commands(tpm: Tpm, added: list[int], removed: list[int]) -> None:
    """Audit some more commands, then some less. RC.NV_UNAVAILABLE."""
    changed = sorted({*tpm.permanent.audit_commands, *added} - set(removed))
    if changed != tpm.permanent.audit_commands:
        tpm.begin_nv_update()
        tpm.permanent.audit_commands = changed


def begin(tpm: Tpm, code: int) -> int:
    """The hash that an audited command is recorded with, if it succeeds.

    Raises RC.NV_UNAVAILABLE if it begins an audit log that can't be counted.
    """
    if not tpm.reset.command_audit_digest or code == CC.GET_COMMAND_AUDIT_DIGEST:
        tpm.require_nv()
    return tpm.permanent.audit_hash


def extend(tpm: Tpm, alg: int, cp_hash: bytes, rp_hash: bytes) -> None:
    """Add a command that succeeded to the audit digest; the first one starts a new audit log.

    The command that changes the hash is not added: the change itself is evidence (Part 3, 21.2).
    """
    if alg != tpm.permanent.audit_hash:
        return
    if not tpm.reset.command_audit_digest:
        tpm.begin_nv_update()
        tpm.permanent.audit_counter += 1
        tpm.reset.command_audit_digest = bytes(digest_size(alg))
    tpm.reset.command_audit_digest = digest(alg, tpm.reset.command_audit_digest, cp_hash, rp_hash)

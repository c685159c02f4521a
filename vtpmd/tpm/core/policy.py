"""What policy commands have in common (Part 1, 16.7; Part 3, 23.2)."""

import hmac
from collections.abc import Callable

from ..crypto.hashes import digest, digest_size
from ..rc import RC, TpmError
from ..state import PolicyState, Session, Tpm
from ..wire.constants import EO

_SECOND = 1000
"""In ms."""
EXPIRES_ON_RESET = 1 << 63
"""Marks a timeout in a ticket that was not bound to a session."""


def state_of(session: Session) -> PolicyState:
    """The assertions so far of the policy session that a handle of that range refers to."""
    assert session.policy is not None
    return session.policy


def extend(session: Session, code: int, *parts: bytes) -> None:
    """policyDigest = H(policyDigest || code || parts)."""
    state = state_of(session)
    state.digest = digest(session.auth_hash, state.digest, code.to_bytes(4), *parts)


def update(session: Session, code: int, name: bytes, reference: bytes) -> None:
    """PolicyUpdate(), in two steps that keep Name and policyRef apart (23.2.3)."""
    extend(session, code, name)
    state = state_of(session)
    state.digest = digest(session.auth_hash, state.digest, reference)


def clear(session: Session) -> None:
    """Set policyDigest to a Zero Digest; other assertions stay (23.6, 23.16 and 23.22)."""
    state_of(session).digest = bytes(digest_size(session.auth_hash))


def require_size(session: Session, octets: bytes, at: str) -> None:
    """Raise RC.SIZE unless `octets` is as long as policyDigest."""
    if len(octets) != digest_size(session.auth_hash):
        raise TpmError(RC.SIZE, at=at)


def is_bound_to(session: Session, kind: str, bound_hash: bytes) -> bool:
    """Whether the policy is bound to this hash already."""
    state = state_of(session)
    return state.bound_kind == kind and hmac.compare_digest(state.bound_hash, bound_hash)


def require_unbound(session: Session) -> None:
    """Raise RC.CPHASH if the policy is already bound to a hash of any kind."""
    if state_of(session).bound_kind:
        raise TpmError(RC.CPHASH)


def bind(session: Session, kind: str, bound_hash: bytes) -> None:
    """Limit the policy to commands with this hash; see `PolicyState.bound_kind`."""
    state = state_of(session)
    state.bound_kind, state.bound_hash = kind, bound_hash


def timeout_of(tpm: Tpm, session: Session, expiration: int, nonce_tpm: bytes) -> int:
    """When an authorization expires, in ms of Time; 0 for never.

    `expiration` is in seconds; its sign doesn't matter here. With a nonce it counts from when the
    nonce was made, otherwise it is absolute; the current milliseconds prevent it from ending early.
    """
    if not expiration:
        return 0
    # abs(-2^31) overflows INT32; like libtpms, use 2^31-1.
    milliseconds = min(abs(expiration), 0x7FFFFFFF) * _SECOND
    if nonce_tpm:
        return session.start_time + milliseconds
    return milliseconds + tpm.volatile.time % _SECOND


def check_qualifiers(
    tpm: Tpm, session: Session, timeout: int, cp_hash_a: bytes, *, timeout_at: str
) -> None:
    """Check timeout and cpHashA of an authorization (23.2.2).

    Raises RC.NV_UNAVAILABLE if Time, which a timeout is compared with, stands still (Part 1,
    34.7.2.2); RC.EXPIRED at `timeout_at`, RC.SIZE at `cp_hash_a`, RC.CPHASH.
    """
    if timeout:
        tpm.require_nv()
        if timeout < tpm.volatile.time or session.epoch != tpm.volatile.time_epoch:
            raise TpmError(RC.EXPIRED, at=timeout_at)
    if cp_hash_a:
        require_size(session, cp_hash_a, at="cp_hash_a")
        if state_of(session).bound_kind and not is_bound_to(session, "cp_hash", cp_hash_a):
            raise TpmError(RC.CPHASH)


def record_authorization(
    session: Session, code: int, name: bytes, reference: bytes, cp_hash_a: bytes, timeout: int
) -> None:
    """Record an authorization that has been checked (23.2.3 and 23.2.4)."""
    update(session, code, name, reference)
    if cp_hash_a:
        bind(session, "cp_hash", cp_hash_a)
    state = state_of(session)
    if timeout:
        state.timeout = min(state.timeout, timeout) if state.timeout else timeout


def _unsigned(octets: bytes) -> int:
    return int.from_bytes(octets)


def _signed(octets: bytes) -> int:
    return int.from_bytes(octets, signed=True)


_CONDITIONS: dict[int, Callable[[bytes, bytes], bool]] = {
    EO.EQ: lambda a, b: a == b,
    EO.NEQ: lambda a, b: a != b,
    EO.SIGNED_GT: lambda a, b: _signed(a) > _signed(b),
    EO.UNSIGNED_GT: lambda a, b: a > b,
    EO.SIGNED_LT: lambda a, b: _signed(a) < _signed(b),
    EO.UNSIGNED_LT: lambda a, b: a < b,
    EO.SIGNED_GE: lambda a, b: _signed(a) >= _signed(b),
    EO.UNSIGNED_GE: lambda a, b: a >= b,
    EO.SIGNED_LE: lambda a, b: _signed(a) <= _signed(b),
    EO.UNSIGNED_LE: lambda a, b: a <= b,
    EO.BITSET: lambda a, b: _unsigned(a) & _unsigned(b) == _unsigned(b),
    EO.BITCLEAR: lambda a, b: _unsigned(a) & _unsigned(b) == 0,
}
"""On big-endian octets of one length, which compare as their numbers do."""


def operand_a(octets: bytes, offset: int, size: int, *, too_long: TpmError) -> bytes:
    """The part of `octets` that an operand of `size` is compared with.

    Raises RC.VALUE at `offset` if it starts past their end, and `too_long` if it ends there.
    """
    if offset > len(octets):
        raise TpmError(RC.VALUE, at="offset")
    if offset + size > len(octets):
        raise too_long
    return octets[offset : offset + size]


def require_condition(operation: int, a: bytes, b: bytes) -> None:
    """Raise RC.POLICY unless TPM_EO `operation` holds between operands of the same size."""
    if not _CONDITIONS[operation](a, b):
        raise TpmError(RC.POLICY)


def arguments(session: Session, operand: bytes, offset: int, operation: int, *more: bytes) -> bytes:
    """args: the digest of operand, offset and operation (23.9, 23.10, 23.23)."""
    return digest(session.auth_hash, operand, offset.to_bytes(2), operation.to_bytes(2), *more)

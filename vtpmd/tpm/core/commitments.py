"""Committed values of two-phase operations: TPM2_Commit, TPM2_EC_Ephemeral (Part 1, 44.2).

A value is not stored but derived from a counter; a bit array says which of the last `WINDOW`
values may still be used. Values for a key depend on its Name, so that no other key can use them.
"""

from typing import Final

from ..crypto.ecc import Curve, private_key
from ..crypto.kdf import kdfa
from ..rc import RC, TpmError
from ..state import Tpm
from ..wire.constants import ALG

WINDOW: Final = 128
"""How many values can be outstanding (TPM_PT_SPLIT_MAX)."""

_COUNTER_BITS = 16


def fresh(tpm: Tpm, curve: Curve, name: bytes) -> int:
    """The value for the commitment that `commit` will record; `name` is empty for no key."""
    return _derive(tpm, curve, name, tpm.reset.commit_counter)


def commit(tpm: Tpm) -> int:
    """Record that the value of `fresh` is outstanding; returns the counter the caller gets."""
    count = tpm.reset.commit_counter
    _set_bit(tpm, count % WINDOW, outstanding=True)
    tpm.reset.commit_counter = count + 1
    return count & (1 << _COUNTER_BITS) - 1


def committed(tpm: Tpm, curve: Curve, name: bytes, counter: int, at: str | None = None) -> int:
    """The value that `commit` returned `counter` for. RC.VALUE at `at` if not outstanding.

    Part 1, 44.2.5 has RC.RANGE for those that the window has passed; libtpms has RC.VALUE.
    """
    age = (tpm.reset.commit_counter - counter) & (1 << _COUNTER_BITS) - 1
    count = tpm.reset.commit_counter - age
    if not 0 < age <= WINDOW or count < 0 or not _bits(tpm) >> counter % WINDOW & 1:
        raise TpmError(RC.VALUE, at=at)
    return _derive(tpm, curve, name, count)


def end(tpm: Tpm, counter: int) -> None:
    """Prevent this value from being used again: two signatures would reveal the private key."""
    _set_bit(tpm, counter % WINDOW, outstanding=False)


def _derive(tpm: Tpm, curve: Curve, name: bytes, count: int) -> int:
    """As 44.2.2, but with SHA-512 for every key and extra bits, which no caller can notice."""

    def octets(size: int) -> bytes:
        nonce, label = tpm.reset.commit_nonce, b"ECDAA Commit"
        return kdfa(ALG.SHA512, nonce, label, name, count.to_bytes(8), size * 8)

    return private_key(curve, octets)


def _bits(tpm: Tpm) -> int:
    return int.from_bytes(tpm.reset.commit_array)


def _set_bit(tpm: Tpm, index: int, *, outstanding: bool) -> None:
    bits = _bits(tpm) & ~(1 << index) | outstanding << index
    tpm.reset.commit_array = bits.to_bytes(WINDOW // 8)

"""What all attestation commands share (Part 3, 18.1): a signed structure only the TPM can make.

A verifier must not learn from the counters in attestations of several keys that the keys are in one
TPM. So for keys that may be pseudonyms a secret number, different for each key, is added to the
counters.
"""

from struct import unpack
from typing import Any

from ..crypto.hashes import digest
from ..crypto.kdf import kdfa
from ..rc import RC, TpmError
from ..state import LoadedObject, Tpm
from ..wire.algorithms import TPMT_SIG_SCHEME, TPMT_SIGNATURE
from ..wire.attest import TPMS_ATTEST
from ..wire.constants import ALG, GENERATED_VALUE, RH
from . import signing
from .clock import clock_info
from .properties import FIRMWARE_VERSION
from .tickets import CONTEXT_HASH

_PLAIN_HIERARCHIES = (RH.ENDORSEMENT, RH.PLATFORM)


def choose_scheme(key: LoadedObject | None, in_scheme: TPMT_SIG_SCHEME) -> TPMT_SIG_SCHEME:
    """The scheme to attest with. RC.KEY at `sign_handle`, RC.SCHEME at `in_scheme`."""
    signing.require_signing_key(key, at="sign_handle")
    return signing.select_scheme(key, in_scheme)


def content_hash(
    key: LoadedObject | None, scheme: TPMT_SIG_SCHEME, in_scheme: TPMT_SIG_SCHEME
) -> int:
    """The hash of the attested contents: the signature's or, without a key, that of `in_scheme`.

    A key that signs by a scheme without a hash has its nameAlg instead (errata 1, 2.6 and 2.7).
    Raises RC.SCHEME at `in_scheme` if there is none.
    """
    hash_alg = signing.hash_of(key, in_scheme if key is None else scheme)
    if hash_alg == ALG.NULL and key is not None and signing.names_no_hash(scheme.scheme):
        hash_alg = key.public.name_alg
    if hash_alg == ALG.NULL:
        raise TpmError(RC.SCHEME, at="in_scheme")
    return hash_alg


def firmware_version() -> int:
    """firmwareVersion of attestation structures."""
    return FIRMWARE_VERSION[0] << 32 | FIRMWARE_VERSION[1]


def attest(
    tpm: Tpm,
    key: LoadedObject | None,
    scheme: TPMT_SIG_SCHEME,
    qualifying_data: bytes,
    kind: int,
    attested: Any,
) -> tuple[bytes, TPMT_SIGNATURE]:
    """Fill in a TPMS_ATTEST around `attested` (the arm of `kind`), marshal and sign it.

    Without a key the signature is the NULL one. An anonymous scheme hides the signer and hashes
    `qualifying_data` instead of showing it. Raises as `signing.sign`, and RC.SIZE, at `size` if the
    command has that (errata 1, 2.8), if the response would not fit into the host's buffer.
    """
    qualified_name = RH.NULL.to_bytes(4) if key is None else key.qualified_name
    clock, firmware = clock_info(tpm), firmware_version()
    if key is None or key.hierarchy not in _PLAIN_HIERARCHIES:
        added, resets, restarts = _obfuscation(tpm, qualified_name)
        firmware = (firmware + added) & 0xFFFFFFFF_FFFFFFFF
        clock.reset_count = (clock.reset_count + resets) & 0xFFFFFFFF
        clock.restart_count = (clock.restart_count + restarts) & 0xFFFFFFFF
    anonymous = signing.is_anonymous(scheme.scheme)
    signer, extra = (b"", b"") if anonymous else (qualified_name, qualifying_data)
    octets = TPMS_ATTEST(GENERATED_VALUE, kind, signer, extra, clock, firmware, attested).marshal()
    if key is None:
        return octets, signing.NULL_SIGNATURE
    signing.require_room(tpm, key, 2 + len(octets), at="size")
    hash_alg = signing.hash_of(key, scheme)
    signed = signing.representative(key, hash_alg, octets)
    if anonymous and qualifying_data:
        signed = digest(hash_alg, qualifying_data, signed)
    return octets, signing.sign(tpm, key, scheme, signed)


def _obfuscation(tpm: Tpm, qualified_name: bytes) -> tuple[int, int, int]:
    """The numbers added to firmwareVersion, resetCount and restartCount.

    The hash is the one libtpms uses, so that the counters of a TPM taken over from it continue; the
    clause requires the key's nameAlg, which makes no difference from outside. Unlike libtpms, the
    Qualified Name of an anonymous key counts too: libtpms uses the empty one that it shows, and so
    adds the same numbers for all anonymous keys.
    """
    octets = kdfa(CONTEXT_HASH, tpm.permanent.owner.proof, b"OBFUSCATE", qualified_name, b"", 128)
    added, restarts, resets = unpack("<QII", octets)
    return added, resets, restarts

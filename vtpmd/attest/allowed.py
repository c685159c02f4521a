"""What the verifier takes from TPMs, whoever has made them: the sets that structures are read by.

They are wider than those of vtpmd's own profiles where other TPMs have more, and narrower where a
key or signature would prove nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from vtpmd.tpm.crypto.ecc import CURVES
from vtpmd.tpm.crypto.edwards import CURVES as EDWARDS
from vtpmd.tpm.crypto.hashes import HASHES
from vtpmd.tpm.crypto.mldsa import PARAMETER_SETS
from vtpmd.tpm.wire.constants import ALG, DIGEST_SIZES
from vtpmd.tpm.wire.limits import MAX_ENCRYPTED_SECRET_SIZE, MAX_PUBLIC_SIZE

_CIPHERS: Final = frozenset({ALG.TDES, ALG.AES, ALG.SM4, ALG.CAMELLIA})
_MODES: Final = frozenset({ALG.CTR, ALG.OFB, ALG.CBC, ALG.CFB, ALG.ECB})
_RSA_SIGNING: Final = frozenset({ALG.RSASSA, ALG.RSAPSS})
_MLDSA: Final = frozenset({ALG.MLDSA, ALG.HASH_MLDSA})
_ECC_SIGNING: Final = frozenset({ALG.ECDSA, ALG.ECSCHNORR, ALG.EDDSA, ALG.HASH_EDDSA})


def _key_bits() -> Mapping[int, frozenset[int]]:
    blocks = frozenset({128, 192, 256})
    return {
        ALG.TDES: frozenset({128, 192}),
        ALG.AES: blocks,
        ALG.SM4: frozenset({128}),
        ALG.CAMELLIA: blocks,
    }


@dataclass(frozen=True)
class _Accepted:
    """The `AllowedSets` of the verifier."""

    hash_algs: frozenset[int] = frozenset(DIGEST_SIZES) - {ALG.NULL}
    asym_algs: frozenset[int] = frozenset({ALG.RSA, ALG.ECC})
    object_types: frozenset[int] = frozenset({ALG.RSA, ALG.ECC}) | _MLDSA
    symmetric_algs: frozenset[int] = _CIPHERS
    block_ciphers: frozenset[int] = _CIPHERS
    symmetric_key_bits: Mapping[int, frozenset[int]] = field(default_factory=_key_bits)
    symmetric_modes: frozenset[int] = _MODES
    cipher_modes: frozenset[int] = _MODES
    mac_schemes: frozenset[int] = frozenset()
    kdfs: frozenset[int] = frozenset({ALG.MGF1, ALG.KDF1_SP800_56A, ALG.KDF1_SP800_108, ALG.KDF2})
    sig_schemes: frozenset[int] = _RSA_SIGNING | _ECC_SIGNING | _MLDSA
    keyedhash_schemes: frozenset[int] = frozenset()
    rsa_schemes: frozenset[int] = _RSA_SIGNING | {ALG.RSAES, ALG.OAEP}
    rsa_decrypt_schemes: frozenset[int] = frozenset({ALG.RSAES, ALG.OAEP})
    rsa_key_bits: frozenset[int] = frozenset({2048, 3072, 4096})
    ecc_schemes: frozenset[int] = _ECC_SIGNING | {ALG.ECDAA, ALG.ECDH}
    ecc_key_exchanges: frozenset[int] = frozenset({ALG.ECDH})
    ecc_curves: frozenset[int] = frozenset({*CURVES, *EDWARDS})
    mlkem_parms: frozenset[int] = frozenset()
    mldsa_parms: frozenset[int] = frozenset(PARAMETER_SETS)
    max_encrypted_secret_size: int = MAX_ENCRYPTED_SECRET_SIZE
    max_public_size: int = MAX_PUBLIC_SIZE
    max_context_data_size: int = 0


ACCEPTED: Final = _Accepted()

BANKS: Final[Mapping[str, int]] = {hash_.name: hash_.alg for hash_ in HASHES.values()}
"""The hashes that PCR values can be computed with, by name."""


def bank_name(alg: int) -> str:
    """What people call the PCR bank of a hash algorithm."""
    return HASHES[alg].name if alg in HASHES else f"0x{alg:04x}"

"""Credentials that only the TPM with a certified EK and a certain AK can open (Part 1, clause 21).

The verifier needs no TPM for it: TPM2_MakeCredential uses public keys alone.
"""

import os
from collections.abc import Callable
from typing import Final, NamedTuple

from vtpmd.tpm.crypto.hashes import hmac
from vtpmd.tpm.crypto.labelled import IDENTITY, ecc_encapsulate, rsa_encapsulate
from vtpmd.tpm.crypto.rsa import RsaPublicKey
from vtpmd.tpm.crypto.symmetric import block_size, cfb_encrypt
from vtpmd.tpm.crypto.wrapping import integrity_key, storage_key
from vtpmd.tpm.wire.algorithms import TPMS_ECC_POINT
from vtpmd.tpm.wire.constants import ALG
from vtpmd.tpm.wire.objects import TPMS_PROTECTED

from .keys import PublicKey

SECRET_SIZE: Final = 32
"""Not longer than a digest of any EK's nameAlg."""

_MAGIC: Final = 0xBADCC0DE
_VERSION: Final = 1


class _Template(NamedTuple):
    """Of an EK template (EK Credential Profile, annex B), what a credential depends on."""

    name_alg: ALG
    aes_bits: int


_BY_BITS: Final = {
    2048: _Template(ALG.SHA256, 128),  # L-1, H-1
    3072: _Template(ALG.SHA384, 256),  # H-6
    4096: _Template(ALG.SHA384, 256),  # H-7
    256: _Template(ALG.SHA256, 128),  # L-2, H-2
    384: _Template(ALG.SHA384, 256),  # H-3
    521: _Template(ALG.SHA512, 256),  # H-4
}
"""A certificate has the key alone; its size tells the template."""


def make_credential(
    ek: PublicKey,
    name: bytes,
    secret: bytes,
    entropy: Callable[[int], bytes] = os.urandom,
) -> bytes:
    """`secret` for the TPM that has the EK and an object of this Name, as tpm2-tools store it."""
    template = _BY_BITS[ek.n.bit_length() if isinstance(ek, RsaPublicKey) else ek.curve.key_bits]
    alg, bits = template
    seed, encrypted_secret = _encapsulate(ek, alg, entropy)
    key = storage_key(alg, seed, name, bits)
    encrypted = cfb_encrypt(ALG.AES, key, bytes(block_size(ALG.AES)), _sized(secret))
    integrity = hmac(alg, integrity_key(alg, seed), encrypted, name)
    blob = TPMS_PROTECTED(integrity, encrypted).marshal()
    head = _MAGIC.to_bytes(4) + _VERSION.to_bytes(4)
    return head + _sized(blob) + _sized(encrypted_secret)


def _encapsulate(ek: PublicKey, alg: int, entropy: Callable[[int], bytes]) -> tuple[bytes, bytes]:
    """(seed, what a TPM2B_ENCRYPTED_SECRET holds)."""
    if isinstance(ek, RsaPublicKey):
        return rsa_encapsulate(ek, alg, IDENTITY, entropy)
    curve = ek.curve
    seed, ephemeral = ecc_encapsulate(curve, alg, IDENTITY, ek.point, entropy)
    point = TPMS_ECC_POINT(curve.octets(ephemeral.x), curve.octets(ephemeral.y))
    return seed, point.marshal()


def _sized(octets: bytes) -> bytes:
    return len(octets).to_bytes(2) + octets

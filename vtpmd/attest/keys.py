"""Public keys, read from a TPM's public area, PEM, or a certificate."""

from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from vtpmd.tpm.crypto import eddsa
from vtpmd.tpm.crypto.ecc import CURVES, Curve, Point
from vtpmd.tpm.crypto.edwards import CURVES as EDWARDS
from vtpmd.tpm.crypto.hashes import HASHES, digest
from vtpmd.tpm.crypto.mldsa import PARAMETER_SETS, is_public_key
from vtpmd.tpm.crypto.rsa import DEFAULT_EXPONENT, RsaPublicKey
from vtpmd.tpm.rc import TpmError
from vtpmd.tpm.wire.algorithms import TPMS_ECC_POINT, TPMS_SCHEME_HASH
from vtpmd.tpm.wire.attributes import TPMA_OBJECT
from vtpmd.tpm.wire.constants import ALG, ECC_CURVE
from vtpmd.tpm.wire.objects import (
    TPMS_ECC_PARMS,
    TPMS_HASH_MLDSA_PARMS,
    TPMS_MLDSA_PARMS,
    TPMS_RSA_PARMS,
    TPMT_PUBLIC,
)

from .allowed import ACCEPTED
from .errors import MalformedError

MAX_SIZE: Final = 64 * 1024
"""Octets of a file with a key or certificates."""

PEM_CERTIFICATE: Final = b"-----BEGIN CERTIFICATE-----"
_PEM: Final = b"-----BEGIN "
_SEQUENCE: Final = 0x30

for _structure in TPMT_PUBLIC, TPMS_RSA_PARMS, TPMS_ECC_PARMS, TPMS_ECC_POINT, TPMS_SCHEME_HASH:
    _structure.compiled_reader({})  # now, and not while the first quote is judged

_NEEDED: Final = {
    "restricted": TPMA_OBJECT.RESTRICTED,
    "sign": TPMA_OBJECT.SIGN_ENCRYPT,
    "fixedTPM": TPMA_OBJECT.FIXED_TPM,
    "fixedParent": TPMA_OBJECT.FIXED_PARENT,
    "sensitiveDataOrigin": TPMA_OBJECT.SENSITIVE_DATA_ORIGIN,
}
"""Without one of them somebody else could have the key, or have it sign a quote made by hand."""


@dataclass(frozen=True)
class EccPublicKey:
    """A point on a curve."""

    curve: Curve
    point: Point


@dataclass(frozen=True)
class MldsaPublicKey:
    """A key of ML-DSA or HashML-DSA, which only signs."""

    scheme: int
    parms: int
    octets: bytes
    hash_alg: int
    """Of the digest over PCRs: the hash of HashML-DSA, for ML-DSA the key's nameAlg.

    TPM_ALG_NULL if the key came without its public area.
    """


@dataclass(frozen=True)
class EddsaPublicKey:
    """A key of EdDSA or HashEdDSA: an encoded point."""

    scheme: int
    curve_id: int
    octets: bytes
    hash_alg: int
    """Of the digest over PCRs: the key's nameAlg, or TPM_ALG_NULL as above."""


PublicKey = RsaPublicKey | EccPublicKey
HashlessKey = MldsaPublicKey | EddsaPublicKey
"""Keys whose signatures do not say with which hash PCRs were hashed."""
SigningKey = PublicKey | HashlessKey


@dataclass(frozen=True)
class Key:
    """A public key, with the public area of the TPM's object where that is known."""

    key: SigningKey
    public: TPMT_PUBLIC | None = None

    @property
    def name(self) -> bytes | None:
        """The Name of the object: nameAlg || H(public area) (Part 1, clause 13)."""
        if self.public is None:
            return None
        alg = self.public.name_alg
        return alg.to_bytes(2) + digest(alg, self.public.marshal())


def is_certificate(octets: bytes) -> bool:
    """Whether this looks like certificates, in PEM or DER."""
    return octets.lstrip().startswith(PEM_CERTIFICATE) or octets[:1] == bytes([_SEQUENCE])


def parse_key(octets: bytes) -> Key:
    """The key in a TPM2B_PUBLIC, a TPMT_PUBLIC or a PEM file. Raises MalformedError."""
    if len(octets) > MAX_SIZE:
        raise MalformedError(f"a key of more than {MAX_SIZE} octets")
    if octets.lstrip().startswith(_PEM):
        return Key(_from_pem(octets))
    return parse_public(octets)


def parse_public(octets: bytes) -> Key:
    """The key in a TPM2B_PUBLIC or TPMT_PUBLIC. Raises MalformedError."""
    if int.from_bytes(octets[:2]) == len(octets) - 2:
        octets = octets[2:]
    try:
        public = TPMT_PUBLIC.parse(octets, ACCEPTED)
    except TpmError as error:
        raise MalformedError(f"no TPM2B_PUBLIC, TPMT_PUBLIC or PEM key: {error}") from None
    if public.name_alg not in HASHES:
        raise MalformedError("a key whose nameAlg is not implemented here")
    return Key(_from_public(public), public)


def lacks(public: TPMT_PUBLIC) -> list[str]:
    """What an attestation key needs and this object lacks, by the names of TPMA_OBJECT (8.3)."""
    attributes = public.object_attributes
    missing = [name for name, mask in _NEEDED.items() if not attributes & mask]
    others = {
        "no decrypt": attributes & TPMA_OBJECT.DECRYPT,
        "a better nameAlg than SHA-1": public.name_alg == ALG.SHA1,
    }
    return missing + [text for text, wrong in others.items() if wrong]


def from_library(key: object) -> SigningKey:
    """A key as the cryptography library has it. MalformedError unless of an accepted kind.

    Those of ML-DSA and EdDSA are of the schemes that hash no message before.
    """
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        return _rsa(numbers.n, numbers.e)
    if isinstance(key, ec.EllipticCurvePublicKey):
        for curve in CURVES.values():
            if curve.library.name == key.curve.name:
                point = key.public_numbers()
                return EccPublicKey(curve, Point(point.x, point.y))
    for parms, found in PARAMETER_SETS.items():
        if isinstance(key, found.public_key):
            return MldsaPublicKey(ALG.MLDSA, parms, key.public_bytes_raw(), ALG.NULL)
    if isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
        of_25519 = isinstance(key, ed25519.Ed25519PublicKey)
        curve_id = ECC_CURVE.CURVE_25519 if of_25519 else ECC_CURVE.CURVE_448
        return _eddsa(ALG.EDDSA, curve_id, key.public_bytes_raw(), ALG.NULL)
    raise MalformedError("a key that is neither RSA, ML-DSA nor of a curve known here")


def _eddsa(scheme: int, curve_id: int, octets: bytes, hash_alg: int) -> EddsaPublicKey:
    if not eddsa.is_public_key(curve_id, octets):
        raise MalformedError("an EdDSA key that is not a point on its curve")
    return EddsaPublicKey(scheme, curve_id, octets, hash_alg)


def _from_pem(octets: bytes) -> SigningKey:
    try:
        return from_library(load_pem_public_key(octets))
    except (ValueError, UnsupportedAlgorithm) as error:
        if isinstance(error, MalformedError):
            raise
        raise MalformedError("no public key in PEM") from None


def _from_public(public: TPMT_PUBLIC) -> SigningKey:
    parameters, unique = public.parameters, public.unique
    if isinstance(parameters, TPMS_RSA_PARMS) and isinstance(unique, bytes):
        key = _rsa(int.from_bytes(unique), parameters.exponent or DEFAULT_EXPONENT)
        if key.n.bit_length() != parameters.key_bits:
            raise MalformedError("an RSA key whose modulus is not as long as it says")
        return key
    if isinstance(parameters, TPMS_ECC_PARMS) and isinstance(unique, TPMS_ECC_POINT):
        if parameters.curve_id in EDWARDS:
            if parameters.scheme.scheme not in (ALG.EDDSA, ALG.HASH_EDDSA) or unique.y:
                raise MalformedError("a key of an Edwards curve that is not one of EdDSA")
            scheme = parameters.scheme.scheme
            return _eddsa(scheme, parameters.curve_id, unique.x, public.name_alg)
        curve = CURVES[parameters.curve_id]
        point = Point(int.from_bytes(unique.x), int.from_bytes(unique.y))
        if not curve.contains(point):
            raise MalformedError("an ECC key that is not a point on its curve")
        return EccPublicKey(curve, point)
    if isinstance(parameters, TPMS_MLDSA_PARMS | TPMS_HASH_MLDSA_PARMS) and isinstance(
        unique, bytes
    ):
        parms, hash_alg = parameters.parameter_set, public.name_alg
        if isinstance(parameters, TPMS_HASH_MLDSA_PARMS):
            hash_alg = parameters.hash_alg
        if not is_public_key(parms, unique) or hash_alg not in HASHES:
            raise MalformedError("an ML-DSA key of another size, or by a hash not known here")
        return MldsaPublicKey(public.type, parms, unique, hash_alg)
    raise MalformedError("a key that is neither RSA, ECC nor ML-DSA")


def _rsa(n: int, e: int) -> RsaPublicKey:
    # With a small exponent, or an even modulus, signatures could be made without a private key.
    if n.bit_length() not in ACCEPTED.rsa_key_bits or not n & 1:
        raise MalformedError("an RSA key that is not of 2048, 3072 or 4096 bits")
    if e < DEFAULT_EXPONENT or not e & 1 or e.bit_length() > 32:
        raise MalformedError("an RSA key with an unusual exponent")
    return RsaPublicKey(n, e)

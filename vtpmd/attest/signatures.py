"""Signatures over the raw octets of a message, as a TPMT_SIGNATURE or plain (`tpm2_quote -f`)."""

from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from vtpmd.tpm.crypto import eddsa, mldsa
from vtpmd.tpm.crypto.ecc_signatures import verify_ecdsa, verify_ecschnorr
from vtpmd.tpm.crypto.hashes import HASHES, digest
from vtpmd.tpm.crypto.rsa import RsaPublicKey
from vtpmd.tpm.crypto.rsa_schemes import verify_rsapss, verify_rsassa
from vtpmd.tpm.rc import TpmError
from vtpmd.tpm.wire.algorithms import (
    TPMS_SCHEME_HASH,
    TPMS_SIGNATURE_ECC,
    TPMS_SIGNATURE_HASH_MLDSA,
    TPMS_SIGNATURE_RSA,
    TPMT_SIGNATURE,
)
from vtpmd.tpm.wire.constants import ALG
from vtpmd.tpm.wire.limits import MAX_MLDSA_SIG_SIZE
from vtpmd.tpm.wire.objects import TPMS_ECC_PARMS, TPMS_RSA_PARMS

from .allowed import ACCEPTED
from .errors import MalformedError
from .keys import EccPublicKey, EddsaPublicKey, Key, MldsaPublicKey, SigningKey

MAX_SIZE: Final = 4 + 2 + MAX_MLDSA_SIG_SIZE
_DER_SEQUENCE: Final = 0x30

for _structure in TPMT_SIGNATURE, TPMS_SIGNATURE_RSA, TPMS_SIGNATURE_ECC:
    _structure.compiled_reader({})  # now, and not while the first quote is judged


@dataclass(frozen=True)
class Signature:
    """One reading of a signature: a plain one tells neither its scheme nor its hash."""

    scheme: int
    hash_alg: int
    value: bytes | tuple[int, int]
    """Of ECC (r, s), of others the octets."""


def parse_signature(octets: bytes, key: Key) -> list[Signature]:
    """The readings of a signature that `key` could have made; empty if its scheme is another.

    Raises MalformedError unless the octets are a whole TPMT_SIGNATURE (Part 2, 11.3.6), or plain:
    as long as the RSA key, or an ECDSA signature in DER.
    """
    if len(octets) > MAX_SIZE:
        raise MalformedError(f"a signature of more than {MAX_SIZE} octets")
    if isinstance(key.key, RsaPublicKey):
        if len(octets) == key.key.size and not _is_head(octets, key.key.size):
            return [Signature(*scheme, octets) for scheme in _schemes(key, _RSA)]
    elif isinstance(key.key, EccPublicKey) and octets[:1] == bytes([_DER_SEQUENCE]):
        return [Signature(*scheme, _from_der(octets)) for scheme in _schemes(key, _ECC)]
    return _parse_tpm(octets, key.key)


def is_valid(signature: Signature, key: SigningKey, message: bytes) -> bool:
    """Whether the holder of `key` has signed these octets."""
    alg, value = signature.hash_alg, signature.value
    hashed = digest(alg, message)
    match signature.scheme, value:
        case ALG.RSASSA, bytes() if isinstance(key, RsaPublicKey):
            return verify_rsassa(key, alg, hashed, value)
        case ALG.RSAPSS, bytes() if isinstance(key, RsaPublicKey):
            return verify_rsapss(key, alg, hashed, value)
        case ALG.ECDSA, (int(r), int(s)) if isinstance(key, EccPublicKey):
            return verify_ecdsa(key.curve, key.point, hashed, r, s)
        case ALG.ECSCHNORR, (int(r), int(s)) if isinstance(key, EccPublicKey):
            return verify_ecschnorr(key.curve, key.point, alg, hashed, r, s)
        case ALG.MLDSA, bytes() if isinstance(key, MldsaPublicKey):
            running = mldsa.running_mu(key.octets, b"")
            running.update(message)
            return _is_of_mldsa(key, running.digest(), value)
        case ALG.HASH_MLDSA, bytes() if isinstance(key, MldsaPublicKey):
            mu = mldsa.mu_of_digest(key.octets, b"", alg, hashed)
            return _is_of_mldsa(key, mu, value)
        case ALG.EDDSA | ALG.HASH_EDDSA, bytes() if isinstance(key, EddsaPublicKey):
            return _is_of_eddsa(key, value, message)
    return False


def _is_of_eddsa(key: EddsaPublicKey, signature: bytes, message: bytes) -> bool:
    nonce = eddsa.nonce(key.curve_id, signature)
    if key.scheme == ALG.EDDSA:
        running = eddsa.running_challenge(key.curve_id, nonce, key.octets)
        running.update(message)
        challenge = running.digest()
    else:
        hashed = eddsa.running_digest(key.curve_id)
        hashed.update(message)
        parts = nonce, key.octets, hashed.digest()
        challenge = eddsa.challenge_of_digest(key.curve_id, *parts)
    return eddsa.verify(key.curve_id, key.octets, signature, challenge)


def _is_of_mldsa(key: MldsaPublicKey, mu: bytes, signature: bytes) -> bool:
    return mldsa.verify(mldsa.decoded(key.parms, key.octets), mu, signature)


def _is_head(octets: bytes, key_size: int) -> bool:
    """Whether this is rather a TPMT_SIGNATURE that was cut off than a plain RSA signature."""
    return int.from_bytes(octets[:2]) in _RSA and int.from_bytes(octets[4:6]) == key_size


_RSA: Final = (ALG.RSASSA, ALG.RSAPSS)
_ECC: Final = (ALG.ECDSA,)


def _schemes(key: Key, possible: tuple[ALG, ...]) -> list[tuple[int, int]]:
    """(scheme, hash) of plain signatures: what the public area says, else whatever is possible."""
    if key.public is not None:
        parameters = key.public.parameters
        if isinstance(parameters, TPMS_RSA_PARMS | TPMS_ECC_PARMS):
            details = parameters.scheme.details
            if isinstance(details, TPMS_SCHEME_HASH):
                possible_now = parameters.scheme.scheme in possible and details.hash_alg in HASHES
                return [(parameters.scheme.scheme, details.hash_alg)] if possible_now else []
    return [(scheme, alg) for scheme in possible for alg in HASHES]


def _from_der(octets: bytes) -> tuple[int, int]:
    try:
        r, s = decode_dss_signature(octets)
    except ValueError:
        raise MalformedError("neither a TPMT_SIGNATURE nor an ECDSA signature in DER") from None
    return r, s


def _parse_tpm(octets: bytes, key: SigningKey) -> list[Signature]:
    try:
        parsed = TPMT_SIGNATURE.parse(octets, ACCEPTED)
    except TpmError as error:
        raise MalformedError(f"no whole TPMT_SIGNATURE or plain signature: {error}") from None
    if isinstance(key, MldsaPublicKey):
        return _of_mldsa(parsed, key)
    if isinstance(key, EddsaPublicKey):
        value = parsed.signature
        if parsed.sig_alg != key.scheme or not isinstance(value, bytes):
            return []
        return [Signature(parsed.sig_alg, _known(key.hash_alg), value)]
    of_rsa = isinstance(key, RsaPublicKey)
    match parsed.signature:
        case TPMS_SIGNATURE_RSA(hash=alg, sig=value) if isinstance(key, RsaPublicKey):
            if len(value) != key.size:
                raise MalformedError(f"{len(value)} octets signed with a key of {key.size}")
            return [Signature(parsed.sig_alg, alg, value)] if alg in HASHES else []
        case TPMS_SIGNATURE_ECC(hash=alg, signature_r=r, signature_s=s) if not of_rsa:
            pair = int.from_bytes(r), int.from_bytes(s)
            return [Signature(parsed.sig_alg, alg, pair)] if alg in HASHES else []
    return []


def _of_mldsa(parsed: TPMT_SIGNATURE, key: MldsaPublicKey) -> list[Signature]:
    if parsed.sig_alg != key.scheme:
        return []
    value = parsed.signature
    if isinstance(value, TPMS_SIGNATURE_HASH_MLDSA):
        if value.hash != key.hash_alg:
            return []
        value = value.signature
    assert isinstance(value, bytes)
    if len(value) != mldsa.PARAMETER_SETS[key.parms].signature_size:
        raise MalformedError(f"{len(value)} octets are no signature of this ML-DSA key")
    return [Signature(parsed.sig_alg, _known(key.hash_alg), value)]


def _known(hash_alg: int) -> int:
    """The hash of a key, or one in its place until the digest that it made is seen."""
    return ALG.SHA256 if hash_alg == ALG.NULL else hash_alg

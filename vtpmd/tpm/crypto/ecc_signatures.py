"""Signatures over elliptic curves: ECDSA, ECDAA and EC Schnorr (Part 1, 44.2 and 44.3)."""

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    Prehashed,
    decode_dss_signature,
    encode_dss_signature,
)

from ..rc import RC, TpmError
from .ecc import (
    CURVES,
    Curve,
    Octets,
    Point,
    add,
    library_point,
    multiply,
    private_key,
    public_point,
)
from .hashes import HASHES, digest

_ECDSA: dict[int, tuple[int, ec.ECDSA]] = {
    curve.curve_id: (hash_.digest_size, ec.ECDSA(Prehashed(hash_.library())))
    for curve in CURVES.values()
    for hash_ in (HASHES[curve.hash_alg],)
}
"""By curve, a digest size that needs no truncation, and ECDSA with a hash of that size."""


def sign_ecdsa(curve: Curve, d: int, hashed: bytes) -> tuple[int, int]:
    """(r, s) of TPM_ALG_ECDSA over a digest of any size up to 64 octets (44.3.1)."""
    size, algorithm = _ECDSA[curve.curve_id]
    signature = ec.derive_private_key(d, curve.library).sign(_fitted(hashed, size), algorithm)
    return decode_dss_signature(signature)


def verify_ecdsa(curve: Curve, q: Point, hashed: bytes, r: int, s: int) -> bool:
    """Whether (r, s) is a TPM_ALG_ECDSA signature over `hashed`; `q` is on the curve."""
    if not (0 < r < curve.n and 0 < s < curve.n):
        return False
    size, algorithm = _ECDSA[curve.curve_id]
    try:
        library_point(curve, q).verify(encode_dss_signature(r, s), _fitted(hashed, size), algorithm)
    except InvalidSignature:
        return False
    return True


def _fitted(hashed: bytes, size: int) -> bytes:
    """The number that ECDSA makes of `hashed`, in `size` octets: truncated or left-padded."""
    return hashed[:size].rjust(size, b"\0")


def sign_ecschnorr(
    curve: Curve, d: int, alg: int, hashed: bytes, octets: Octets
) -> tuple[int, int]:
    """(r, s) of TPM_ALG_ECSCHNORR with scheme hash `alg` over `hashed` (44.3.4.2)."""
    while True:
        k = private_key(curve, octets)
        r = _schnorr_challenge(curve, public_point(curve, k), alg, hashed)
        s = (k + r * d) % curve.n
        # Beyond the clause, r stays below n: libtpms refuses other signatures.
        if 0 < r < curve.n and s:
            return r, s


def verify_ecschnorr(curve: Curve, q: Point, alg: int, hashed: bytes, r: int, s: int) -> bool:
    """Whether (r, s) is a TPM_ALG_ECSCHNORR signature (44.3.4.3); `q` is on the curve."""
    if not (0 < r < curve.n and 0 < s < curve.n):
        return False
    try:
        commitment = add(curve, public_point(curve, s), multiply(curve, curve.n - r, q))
    except TpmError:
        return False
    return _schnorr_challenge(curve, commitment, alg, hashed) == r


def _schnorr_challenge(curve: Curve, commitment: Point, alg: int, hashed: bytes) -> int:
    return int.from_bytes(digest(alg, curve.octets(commitment.x), hashed)[: curve.size], "big")


def commit_base(curve: Curve, name_alg: int, s2: bytes, y2: int) -> Point:
    """The base point of TPM2_Commit, on the curve or not (44.2.3, step 3)."""
    return Point(int.from_bytes(digest(name_alg, s2), "big") % curve.p, y2)


def sign_ecdaa(
    curve: Curve, d: int, r: int, alg: int, hashed: bytes, octets: Octets
) -> tuple[bytes, int]:
    """(k, s) of TPM_ALG_ECDAA; `r` is the committed value, `alg` the scheme hash (44.3.3.3).

    k is returned as the octets that were hashed, without leading zeros, as libtpms does.
    Raises TPM_RC_NO_RESULT if s is 0.
    """
    nonce = private_key(curve, octets)
    k = nonce.to_bytes((nonce.bit_length() + 7) // 8, "big")
    s = (r + int.from_bytes(digest(alg, k, hashed), "big") * d) % curve.n
    if s == 0:
        raise TpmError(RC.NO_RESULT)
    return k, s

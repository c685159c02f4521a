"""X25519 and X448 (RFC 7748): key exchange by one coordinate, little-endian (Part 1, 44.5.4).

A private key is any octets: what makes a scalar of them belongs to the function.
"""

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.x448 import X448PrivateKey, X448PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from ..rc import RC, TpmError
from ..wire.constants import ALG, ECC_CURVE
from .ecc import Octets


@dataclass(frozen=True, slots=True)
class MontgomeryCurve:
    """v^2 = u^3 + au^2 + u modulo p, with a base point (u, v) of prime order n and cofactor h."""

    curve_id: int
    key_bits: int
    p: int
    a: int
    u: int
    v: int
    n: int
    h: int
    private_key: type[X25519PrivateKey | X448PrivateKey]
    """Its class in the cryptography library, and that of its public keys."""
    public_key: type[X25519PublicKey | X448PublicKey]
    hash_alg: int
    """Of its DHKEM; reported as the hash of its KDF."""

    @property
    def size(self) -> int:
        """Octets of a coordinate and of a private key."""
        return (self.key_bits + 7) // 8

    def octets(self, value: int) -> bytes:
        """A parameter as the TPM reports it: a number, big-endian."""
        return value.to_bytes(self.size, "big")


CURVES: dict[int, MontgomeryCurve] = {
    ECC_CURVE.CURVE_25519: MontgomeryCurve(
        ECC_CURVE.CURVE_25519,
        255,
        2**255 - 19,
        486662,
        9,
        14781619447589544791020593568409986887264606134616475288964881837755586237401,
        2**252 + 27742317777372353535851937790883648493,
        8,
        X25519PrivateKey,
        X25519PublicKey,
        ALG.SHA256,
    ),
    ECC_CURVE.CURVE_448: MontgomeryCurve(
        ECC_CURVE.CURVE_448,
        448,
        2**448 - 2**224 - 1,
        156326,
        5,
        355293926785568175264127502063783334808976399387714271831880898435169088786967410002932673765864550910142774147268105838985595290606362,
        2**446 - 0x8335DC163BB124B65129C96FDE933D8D723A70AADC873D6D54A7BB0D,
        4,
        X448PrivateKey,
        X448PublicKey,
        ALG.SHA512,
    ),
}


def private_key(curve: MontgomeryCurve, octets: Octets) -> bytes:
    """A private key (RFC 7748, 6)."""
    return octets(curve.size)


def public_key(curve: MontgomeryCurve, private: bytes) -> bytes:
    """The coordinate that belongs to a private key."""
    return curve.private_key.from_private_bytes(private).public_key().public_bytes_raw()


def exchange(curve: MontgomeryCurve, private: bytes, peer: bytes) -> bytes:
    """The shared coordinate.

    Raises TPM_RC_ECC_POINT if `peer` is none by its size, TPM_RC_NO_RESULT if it is one of those
    few that share the same with everybody (RFC 7748, 6).
    """
    if len(peer) != curve.size:
        raise TpmError(RC.ECC_POINT)
    key, public = (
        curve.private_key.from_private_bytes(private),
        curve.public_key.from_public_bytes(peer),
    )
    try:
        return key.exchange(public)  # type: ignore[arg-type]
    except ValueError:
        raise TpmError(RC.NO_RESULT) from None

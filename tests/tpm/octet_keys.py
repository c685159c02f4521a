"""Keys on Curve25519 and Curve448 of which tests know the private part (Part 1, 44.5)."""

from cryptography.hazmat.primitives.asymmetric import ed448, ed25519, x448, x25519

from tests.tpm import areas
from tests.tpm.areas import NO_DA, NONE, SIGN, USER_AUTH, words
from vtpmd.tpm.wire.constants import ALG, ECC_CURVE

ED: dict[int, type[ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey]] = {
    ECC_CURVE.CURVE_25519: ed25519.Ed25519PrivateKey,
    ECC_CURVE.CURVE_448: ed448.Ed448PrivateKey,
}
X: dict[int, type[x25519.X25519PrivateKey | x448.X448PrivateKey]] = {
    ECC_CURVE.CURVE_25519: x25519.X25519PrivateKey,
    ECC_CURVE.CURVE_448: x448.X448PrivateKey,
}
X_PUBLIC: dict[int, type[x25519.X25519PublicKey | x448.X448PublicKey]] = {
    ECC_CURVE.CURVE_25519: x25519.X25519PublicKey,
    ECC_CURVE.CURVE_448: x448.X448PublicKey,
}
ED_SIZE = {ECC_CURVE.CURVE_25519: 32, ECC_CURVE.CURVE_448: 57}
X_SIZE = {ECC_CURVE.CURVE_25519: 32, ECC_CURVE.CURVE_448: 56}
EDDSA, HASH_EDDSA = words(ALG.EDDSA), words(ALG.HASH_EDDSA)
ECDH = words(ALG.ECDH, ALG.SHA256)


def private_of(curve: int, *, signs: bool) -> bytes:
    """The private key."""
    return bytes(range((ED_SIZE if signs else X_SIZE)[ECC_CURVE(curve)]))


def signing_key(curve: int) -> ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey:
    """The same as the library has it."""
    return ED[ECC_CURVE(curve)].from_private_bytes(private_of(curve, signs=True))


def exchange_key(curve: int) -> x25519.X25519PrivateKey | x448.X448PrivateKey:
    """The same."""
    return X[ECC_CURVE(curve)].from_private_bytes(private_of(curve, signs=False))


def public_of(curve: int, *, signs: bool) -> bytes:
    """The public key."""
    key = signing_key(curve) if signs else exchange_key(curve)
    return key.public_key().public_bytes_raw()


def octet_areas(
    curve: int = ECC_CURVE.CURVE_25519,
    scheme: bytes = EDDSA,
    attributes: int = SIGN,
    *,
    kdf: bytes = NONE,
    symmetric: bytes = NONE,
    seed: bytes = b"",
    alg: int = ALG.SHA256,
) -> tuple[bytes, bytes]:
    """Public and sensitive area."""
    signs = attributes & SIGN == SIGN
    public = areas.ecc(
        USER_AUTH | NO_DA | attributes,
        scheme=scheme,
        curve=curve,
        kdf=kdf,
        symmetric=symmetric,
        alg=alg,
        x=public_of(curve, signs=signs),
    )
    return public, areas.sensitive(ALG.ECC, private_of(curve, signs=signs), seed=seed)


def shared(curve: int, peer: bytes) -> bytes:
    """What the exchange key shares with the holder of another."""
    other = X_PUBLIC[ECC_CURVE(curve)].from_public_bytes(peer)
    return exchange_key(curve).exchange(other)  # type: ignore[arg-type]

"""Hash and HMAC by TPM_ALG_ID (Part 1, 8.4.3 and 8.4.4), and the table of hash algorithms."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from hmac import compare_digest

from cryptography.hazmat.primitives import hashes as library_hashes

from ..wire.constants import ALG, DIGEST_SIZES
from . import compression, der


@dataclass(frozen=True, slots=True)
class Hash:
    """All facts about a hash algorithm. Sizes are in octets."""

    alg: int
    name: str
    """In hashlib, and of a PCR bank."""
    digest_size: int
    block_size: int
    library: type[library_hashes.HashAlgorithm]
    """Its class in the cryptography library."""
    compression: compression.Compression
    """What continues a sequence whose context was saved."""
    oid: bytes
    """Its object identifier in DER, used by RSASSA-PKCS1-v1_5 and RSASSA-PSS."""
    rsassa_oid: bytes
    """In certificates, of RSASSA-PKCS1-v1_5 signatures with it."""
    ecdsa_oid: bytes
    """In certificates, of ECDSA signatures with it."""

    @property
    def der_prefix(self) -> bytes:
        """DigestInfo of RFC 8017, 9.2, up to the digest itself."""
        algorithm = der.sequence(self.oid, der.element(der.NULL))
        digest_ = der.element(der.OCTET_STRING, bytes(self.digest_size))
        return der.sequence(algorithm, digest_)[: -self.digest_size]


def _hash(
    alg: int,
    library: type[library_hashes.HashAlgorithm],
    resumed: compression.Compression,
    *,
    oid: str,
    rsassa_oid: str,
    ecdsa_oid: str,
) -> Hash:
    name = library().name.replace("-", "_")
    return Hash(
        alg,
        name,
        DIGEST_SIZES[alg],
        hashlib.new(name).block_size,
        library,
        resumed,
        der.oid(oid),
        der.oid(rsassa_oid),
        der.oid(ecdsa_oid),
    )


HASHES: dict[int, Hash] = {
    hash_.alg: hash_
    for hash_ in (
        _hash(
            ALG.SHA1,
            library_hashes.SHA1,
            compression.SHA1,
            oid="1.3.14.3.2.26",
            rsassa_oid="1.2.840.113549.1.1.5",
            ecdsa_oid="1.2.840.10045.4.1",
        ),
        _hash(
            ALG.SHA256,
            library_hashes.SHA256,
            compression.SHA256,
            oid="2.16.840.1.101.3.4.2.1",
            rsassa_oid="1.2.840.113549.1.1.11",
            ecdsa_oid="1.2.840.10045.4.3.2",
        ),
        _hash(
            ALG.SHA384,
            library_hashes.SHA384,
            compression.SHA384,
            oid="2.16.840.1.101.3.4.2.2",
            rsassa_oid="1.2.840.113549.1.1.12",
            ecdsa_oid="1.2.840.10045.4.3.3",
        ),
        _hash(
            ALG.SHA512,
            library_hashes.SHA512,
            compression.SHA512,
            oid="2.16.840.1.101.3.4.2.3",
            rsassa_oid="1.2.840.113549.1.1.13",
            ecdsa_oid="1.2.840.10045.4.3.4",
        ),
        _hash(
            ALG.SHA3_256,
            library_hashes.SHA3_256,
            compression.SHA3_256,
            oid="2.16.840.1.101.3.4.2.8",
            rsassa_oid="2.16.840.1.101.3.4.3.14",
            ecdsa_oid="2.16.840.1.101.3.4.3.10",
        ),
        _hash(
            ALG.SHA3_384,
            library_hashes.SHA3_384,
            compression.SHA3_384,
            oid="2.16.840.1.101.3.4.2.9",
            rsassa_oid="2.16.840.1.101.3.4.3.15",
            ecdsa_oid="2.16.840.1.101.3.4.3.11",
        ),
        _hash(
            ALG.SHA3_512,
            library_hashes.SHA3_512,
            compression.SHA3_512,
            oid="2.16.840.1.101.3.4.2.10",
            rsassa_oid="2.16.840.1.101.3.4.3.16",
            ecdsa_oid="2.16.840.1.101.3.4.3.12",
        ),
    )
}
"""Every hash that is implemented; digest sizes come from `DIGEST_SIZES` (Part 2)."""
_CONSTRUCTORS: dict[int, Callable[..., "hashlib._Hash"]] = {
    alg: getattr(hashlib, hash_.name) for alg, hash_ in HASHES.items()
}
_BLOCK_SIZES = {alg: hash_.block_size for alg, hash_ in HASHES.items()}
_PADS = {
    size: (int.from_bytes(b"\x36" * size), int.from_bytes(b"\x5c" * size))
    for size in _BLOCK_SIZES.values()
}
"""ipad and opad of RFC 2104."""
_SIZES = {alg: hash_.digest_size for alg, hash_ in HASHES.items()}


def digest(alg: int, *parts: bytes) -> bytes:
    """H(parts[0] || parts[1] || …). KeyError if `alg` is no hash of this table."""
    return _CONSTRUCTORS[alg](b"".join(parts)).digest()


def hmac(alg: int, key: bytes, *parts: bytes) -> bytes:
    """HMAC(key, parts[0] || parts[1] || …); an empty key is allowed. KeyError as `digest`."""
    return HmacKey(alg, key).hmac(*parts)


class HmacKey:
    """A key of HMACs, ready for many of them: its two blocks are hashed once. KeyError as `digest`.

    RFC 2104 itself, on two hashes: the library's HMAC looks its hash up by name each time, which
    takes longer than all the rest.
    """

    __slots__ = ("_inner", "_key", "_outer")

    def __init__(self, alg: int, key: bytes) -> None:
        new, size = _CONSTRUCTORS[alg], _BLOCK_SIZES[alg]
        self._key = key
        padded = int.from_bytes((new(key).digest() if len(key) > size else key).ljust(size, b"\0"))
        inner_pad, outer_pad = _PADS[size]
        self._inner = new((padded ^ inner_pad).to_bytes(size))
        self._outer = new((padded ^ outer_pad).to_bytes(size))

    def has(self, key: bytes) -> bool:
        """Whether it was made of this key."""
        return compare_digest(self._key, key)

    def hmac(self, *parts: bytes) -> bytes:
        """HMAC(key, parts[0] || parts[1] || …)."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(b"".join(parts))
        outer.update(inner.digest())
        return outer.digest()


def digest_size(alg: int) -> int:
    """Octets of a digest of `alg`; 0 for TPM_ALG_NULL and anything else not implemented."""
    return _SIZES.get(alg, 0)


def block_size(alg: int) -> int:
    """Octets of an input block of `alg`, and of the largest HMAC key that is not hashed first."""
    return HASHES[alg].block_size


def new(alg: int) -> "hashlib._Hash":
    """A running hash of hashlib for `alg`."""
    return _CONSTRUCTORS[alg]()

"""Hash and HMAC over TPM_ALG_ID (Part 1, 8.4.3 and 8.4.4)."""

import hashlib
import hmac as _hmac
from collections.abc import Callable
from dataclasses import dataclass

from vtpmd.tpm.wire.constants import ALG

_SHA2_OID = bytes.fromhex("06096086480165030402")


@dataclass(frozen=True, slots=True)
class Hash:
    """A hash algorithm: sizes in octets; ``oid`` is the DER object identifier used by RSASSA."""

    alg: int
    name: str
    digest_size: int
    block_size: int
    oid: bytes

    @property
    def der_prefix(self) -> bytes:
        """DigestInfo of RFC 8017, 9.2, up to the digest itself."""
        algorithm = b"\x30" + bytes([len(self.oid) + 2]) + self.oid + b"\x05\x00"
        octets = b"\x04" + bytes([self.digest_size])
        size = len(algorithm) + len(octets) + self.digest_size
        return b"\x30" + bytes([size]) + algorithm + octets


HASHES: dict[int, Hash] = {
    hash_.alg: hash_
    for hash_ in (
        Hash(ALG.SHA1, "sha1", 20, 64, bytes.fromhex("06052b0e03021a")),
        Hash(ALG.SHA256, "sha256", 32, 64, _SHA2_OID + b"\x01"),
        Hash(ALG.SHA384, "sha384", 48, 128, _SHA2_OID + b"\x02"),
        Hash(ALG.SHA512, "sha512", 64, 128, _SHA2_OID + b"\x03"),
        Hash(ALG.SHA3_256, "sha3_256", 32, 136, _SHA2_OID + b"\x08"),
        Hash(ALG.SHA3_384, "sha3_384", 48, 104, _SHA2_OID + b"\x09"),
        Hash(ALG.SHA3_512, "sha3_512", 64, 72, _SHA2_OID + b"\x0a"),
    )
}
_CONSTRUCTORS: dict[int, Callable[..., "hashlib._Hash"]] = {
    alg: getattr(hashlib, hash_.name) for alg, hash_ in HASHES.items()
}
_NAMES = {alg: hash_.name for alg, hash_ in HASHES.items()}
_SIZES = {alg: hash_.digest_size for alg, hash_ in HASHES.items()}


def digest(alg: int, *parts: bytes) -> bytes:
    """H(parts[0] || parts[1] || …). KeyError if ``alg`` is no hash of this table."""
    return _CONSTRUCTORS[alg](b"".join(parts)).digest()


def hmac(alg: int, key: bytes, *parts: bytes) -> bytes:
    """HMAC(key, parts[0] || parts[1] || …); an empty key is allowed. KeyError as ``digest``."""
    return _hmac.digest(key, b"".join(parts), _NAMES[alg])


def digest_size(alg: int) -> int:
    """Octets of a digest of ``alg``; 0 for TPM_ALG_NULL and everything that is no hash here."""
    return _SIZES.get(alg, 0)


def block_size(alg: int) -> int:
    """Octets of the input block of ``alg``: the largest HMAC key that is used as it is."""
    return HASHES[alg].block_size


def new(alg: int) -> "hashlib._Hash":
    """A running hash of hashlib for ``alg``."""
    return _CONSTRUCTORS[alg]()

"""Keys of the outer wrapper, under which things leave a TPM (Part 1, 19.4 and 19.5)."""

from .hashes import digest_size
from .kdf import kdfa


def storage_key(alg: int, seed: bytes, name: bytes, bits: int) -> bytes:
    """What encrypts for the object with this Name; `alg` is the nameAlg of the protector (19.4)."""
    return kdfa(alg, seed, b"STORAGE", name, b"", bits)


def integrity_key(alg: int, seed: bytes) -> bytes:
    """The key of the HMAC over what is encrypted, and the Name (19.5)."""
    return kdfa(alg, seed, b"INTEGRITY", b"", b"", digest_size(alg) * 8)

"""Private keys of an authority, in octets that can be wiped.

ECDSA P-384, as PKCS#8. They are written here: the library's own way makes immutable copies,
which would stay in memory that has been freed.
"""

from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_private_key

Key = ec.EllipticCurvePrivateKey

_HEAD: Final = bytes.fromhex(
    "304e"  # PrivateKeyInfo (RFC 5208)
    "020100"
    "3010" "0607" "2a8648ce3d0201" "0605" "2b81040022"  # id-ecPublicKey, secp384r1
    "0437"
    "3035" "020101" "0430"  # ECPrivateKey (RFC 5915), whose public key may be absent
)  # fmt: skip
_SCALAR_SIZE: Final = 48
_RANDOM: Final = Path("/dev/urandom")  # which, unlike os.urandom, fills memory of ours


def generate() -> bytearray:
    """A new key, which the caller wipes."""
    octets = bytearray(_HEAD) + bytearray(_SCALAR_SIZE)
    with memoryview(octets) as view, _RANDOM.open("rb", buffering=0) as source:
        read = source.readinto(view[-_SCALAR_SIZE:])
    if read != _SCALAR_SIZE:
        raise OSError(f"{_RANDOM} gave {read} octets instead of {_SCALAR_SIZE}")
    return octets


def load(octets: bytes | bytearray | memoryview) -> Key:
    """The key that is written in some octets. Raises ValueError if none is."""
    key = load_der_private_key(octets, password=None)
    if not isinstance(key, Key) or not isinstance(key.curve, ec.SECP384R1):
        raise ValueError("no key on P-384")
    return key

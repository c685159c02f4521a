"""RSA padding schemes (Part 1, 43.4 to 43.7; RFC 8017).

Padding for public operations and decryption is done here: keys come from guests, and OpenSSL
refuses some of their moduli, hides bad RSAES padding, and lacks OAEP with SHA-3. Decoders look at
the whole block and decide once, so that timing reveals as little as Python allows about which check
failed.
"""

import hmac

from cryptography.exceptions import InternalError
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS, PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import NoDigestInfo, Prehashed

from ..rc import RC, TpmError
from .hashes import HASHES, digest
from .kdf import mgf1, xor
from .rsa import Entropy, RsaKey, RsaPublicKey

_PKCS1_OVERHEAD = 11


def encrypt_raw(key: RsaPublicKey, message: bytes) -> bytes:
    """TPM_ALG_NULL: `message` as a number, to the power e (Part 3, 14.2).

    Raises TPM_RC_VALUE if the number is not below the modulus.
    """
    number = message.lstrip(b"\0")
    if len(number) > key.size:
        raise TpmError(RC.VALUE)
    return key.apply(number.rjust(key.size, b"\0"))


def decrypt_raw(key: RsaKey, ciphertext: bytes, entropy: Entropy) -> bytes:
    """TPM_ALG_NULL: `ciphertext` to the power d, as long as the modulus.

    Raises TPM_RC_SIZE if the ciphertext does not have the size of the modulus, TPM_RC_VALUE if it
    is not below the modulus (Part 3, 14.3).
    """
    if len(ciphertext) != key.public.size:
        raise TpmError(RC.SIZE)
    return key.apply(ciphertext, entropy)


def encrypt_rsaes(key: RsaPublicKey, message: bytes, entropy: Entropy) -> bytes:
    """TPM_ALG_RSAES. TPM_RC_VALUE if `message` is too long for the key."""
    fill = key.size - len(message) - 3
    if len(message) > key.size - _PKCS1_OVERHEAD:
        raise TpmError(RC.VALUE)
    padding = entropy(fill).replace(b"\0", b"")
    while len(padding) < fill:
        padding += entropy(fill - len(padding)).replace(b"\0", b"")
    return key.apply(b"\0\x02" + padding + b"\0" + message)


def decrypt_rsaes(key: RsaKey, ciphertext: bytes, entropy: Entropy) -> bytes:
    """The inverse of `encrypt_rsaes`; raises as `decrypt_raw`, TPM_RC_VALUE on bad padding."""
    block = decrypt_raw(key, ciphertext, entropy)
    end = block.find(b"\0", 2)
    good = (block[0] == 0) & (block[1] == 2) & (end >= _PKCS1_OVERHEAD - 1)
    if not good:
        raise TpmError(RC.VALUE)
    return block[end + 1 :]


def encrypt_oaep(
    key: RsaPublicKey, alg: int, label: bytes, message: bytes, entropy: Entropy
) -> bytes:
    """TPM_ALG_OAEP with hash `alg`; `label` is L with its terminating NUL, or empty.

    Raises TPM_RC_HASH if the key is too short for the hash, TPM_RC_VALUE if `message` is too
    long.
    """
    size = HASHES[alg].digest_size
    room = key.size - 2 * size - 2
    if room < 0:
        raise TpmError(RC.HASH)
    if len(message) > room:
        raise TpmError(RC.VALUE)
    seed = entropy(size)
    data = digest(alg, label) + bytes(room - len(message)) + b"\x01" + message
    masked = xor(data, mgf1(alg, seed, len(data)))
    return key.apply(b"\0" + xor(seed, mgf1(alg, masked, size)) + masked)


def decrypt_oaep(key: RsaKey, alg: int, label: bytes, ciphertext: bytes, entropy: Entropy) -> bytes:
    """The inverse of `encrypt_oaep`; raises as `decrypt_raw`, TPM_RC_VALUE on bad padding."""
    size = HASHES[alg].digest_size
    block = decrypt_raw(key, ciphertext, entropy)
    if len(block) < 2 * size + 2:
        raise TpmError(RC.VALUE)
    masked_seed, masked = block[1 : size + 1], block[size + 1 :]
    seed = xor(masked_seed, mgf1(alg, masked, size))
    data = xor(masked, mgf1(alg, seed, len(masked)))
    padded = data[size:].lstrip(b"\0")
    good = (
        hmac.compare_digest(data[:size], digest(alg, label))
        & (block[0] == 0)
        & hmac.compare_digest(padded[:1], b"\x01")
    )
    if not good:
        raise TpmError(RC.VALUE)
    return padded[1:]


def sign_rsassa(key: RsaKey, alg: int, hashed: bytes) -> bytes:
    """TPM_ALG_RSASSA over a digest of `alg`, as long as the modulus.

    Raises TPM_RC_SIZE if the key is too short for the hash, TPM_RC_BINDING if it does not work.
    """
    info = HASHES[alg].der_prefix + hashed
    if len(info) > key.public.size - _PKCS1_OVERHEAD:
        raise TpmError(RC.SIZE)
    signature = _signed(key, alg, hashed, info, PKCS1v15(), NoDigestInfo())
    if not verify_rsassa(key.public, alg, hashed, signature):
        raise TpmError(RC.BINDING)
    return signature


def verify_rsassa(key: RsaPublicKey, alg: int, hashed: bytes, signature: bytes) -> bool:
    """Whether `signature` is one of TPM_ALG_RSASSA over `hashed` by the holder of `key`."""
    info = HASHES[alg].der_prefix + hashed
    fill = key.size - len(info) - 3
    if len(hashed) != HASHES[alg].digest_size or fill < 8:
        return False
    expected = b"\0\x01" + b"\xff" * fill + b"\0" + info
    return _recovered(key, signature) == expected


def pss_salt_size(alg: int, key_size: int) -> int:
    """Octets of salt: a digest's, or as many as fit into `key_size` octets (43.7)."""
    size = HASHES[alg].digest_size
    return max(0, min(size, key_size - size - 2))


def sign_rsapss(key: RsaKey, alg: int, hashed: bytes) -> bytes:
    """TPM_ALG_RSAPSS over a digest of `alg`, as long as the modulus.

    Raises TPM_RC_SIZE if the key is too short for the hash, TPM_RC_BINDING if it does not work.
    """
    if key.public.size < HASHES[alg].digest_size + 2:
        raise TpmError(RC.SIZE)
    hash_ = HASHES[alg].library()
    padding = PSS(MGF1(hash_), pss_salt_size(alg, key.public.size))
    signature = _signed(key, alg, hashed, hashed, padding, Prehashed(hash_))
    if not verify_rsapss(key.public, alg, hashed, signature):
        raise TpmError(RC.BINDING)
    return signature


def verify_rsapss(key: RsaPublicKey, alg: int, hashed: bytes, signature: bytes) -> bool:
    """Whether `signature` is one of TPM_ALG_RSAPSS over `hashed`, with any length of salt."""
    size = HASHES[alg].digest_size
    block = _recovered(key, signature)
    if block is None or len(block) < size + 2 or block[-1] != 0xBC:
        return False
    masked, check = block[: -size - 1], block[-size - 1 : -1]
    unused = 8 * len(block) - (key.n.bit_length() - 1)
    if int.from_bytes(masked, "big") >> (8 * len(masked) - unused):
        return False
    data = int.from_bytes(xor(masked, mgf1(alg, check, len(masked))), "big")
    data &= (1 << 8 * len(masked) - unused) - 1
    padded = data.to_bytes(len(masked), "big").lstrip(b"\0")
    return padded[:1] == b"\x01" and check == digest(alg, bytes(8), hashed, padded[1:])


def _signed(
    key: RsaKey,
    alg: int,
    hashed: bytes,
    data: bytes,
    padding: PKCS1v15 | PSS,
    algorithm: NoDigestInfo | Prehashed,
) -> bytes:
    """OpenSSL's signature over `data`; wrong or refused if a "prime" is composite."""
    if len(hashed) != HASHES[alg].digest_size:
        raise ValueError("not a digest of this algorithm")
    try:
        return key.library_key.sign(data, padding, algorithm)
    except (ValueError, InternalError):
        raise TpmError(RC.BINDING) from None


def _recovered(key: RsaPublicKey, signature: bytes) -> bytes | None:
    """The padded block in `signature`, or None if it can't be a signature of `key`."""
    if len(signature) != key.size or int.from_bytes(signature, "big") >= key.n:
        return None
    return key.apply(signature)

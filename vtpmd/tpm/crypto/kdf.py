"""Key derivation functions and XOR obfuscation (Part 1, 8.4.7.3 and 8.4.10)."""

import hmac as _hmac

from .hashes import HASHES, digest

_COUNTERS = [i.to_bytes(4, "big") for i in range(9)]


def _counter(i: int) -> bytes:
    return _COUNTERS[i] if i < 9 else i.to_bytes(4, "big")


def _masked(stream: bytes, bits: int) -> bytes:
    """The first `bits` rounded up to octets; unused high bits of octet 0 are CLEAR."""
    stream = stream[: (bits + 7) // 8]
    if bits % 8:
        return bytes([stream[0] & ((1 << bits % 8) - 1)]) + stream[1:]
    return stream


def kdfa(
    alg: int, key: bytes, label: bytes, context_u: bytes, context_v: bytes, bits: int
) -> bytes:
    """KDFa, SP 800-108 counter mode with HMAC (8.4.10.2); (bits + 7) // 8 octets.

    `label` is given without its terminating NUL, which is added here; a label that ends in NUL
    is taken as terminated.
    """
    fixed = label if label[-1:] == b"\0" else label + b"\0"
    fixed += context_u + context_v + bits.to_bytes(4, "big")
    hash_ = HASHES[alg]
    name, size = hash_.name, hash_.digest_size
    if bits <= size * 8:
        stream = _hmac.digest(key, _COUNTERS[1] + fixed, name)
    else:
        blocks = -(-bits // (size * 8))
        stream = b"".join(
            _hmac.digest(key, _counter(i) + fixed, name) for i in range(1, blocks + 1)
        )
    return _masked(stream, bits)


def kdfe(alg: int, z: bytes, use: bytes, party_u: bytes, party_v: bytes, bits: int) -> bytes:
    """KDFe, the one-step KDF of SP 800-56C (8.4.10.3); (bits + 7) // 8 octets.

    `z` and the party infos are x-coordinates padded to the size of the curve; `use` is given
    without its terminating NUL.
    """
    return kdf1_sp800_56a(alg, z, use + b"\0" + party_u + party_v, bits)


def kdf1_sp800_56a(alg: int, z: bytes, other_info: bytes, bits: int) -> bytes:
    """TPM_ALG_KDF1_SP800_56A: the KDF under KDFe, with OtherInfo as the caller built it."""
    blocks = -(-bits // (HASHES[alg].digest_size * 8))
    stream = b"".join(digest(alg, _counter(i), z, other_info) for i in range(1, blocks + 1))
    return _masked(stream, bits)


def mgf1(alg: int, seed: bytes, size: int) -> bytes:
    """MGF1 of RFC 8017, B.2.1: a mask of `size` octets."""
    return _hash_stream(alg, seed, size, 0)


def kdf2(alg: int, seed: bytes, size: int) -> bytes:
    """TPM_ALG_KDF2 of IEEE 1363a: MGF1 whose counter starts at one; `size` octets."""
    return _hash_stream(alg, seed, size, 1)


def _hash_stream(alg: int, seed: bytes, size: int, first: int) -> bytes:
    blocks = -(-size // HASHES[alg].digest_size)
    return b"".join(digest(alg, seed, _counter(i)) for i in range(first, first + blocks))[:size]


def xor_obfuscation(alg: int, key: bytes, context_u: bytes, context_v: bytes, data: bytes) -> bytes:
    """XOR(data, hashAlg, key, contextU, contextV) (8.4.7.3). Its own inverse."""
    return xor(data, kdfa(alg, key, b"XOR", context_u, context_v, len(data) * 8))


def xor(a: bytes, b: bytes) -> bytes:
    """Octet by octet a XOR b; both of the same size."""
    if len(a) != len(b):
        raise ValueError("operands of different size")
    return (int.from_bytes(a, "big") ^ int.from_bytes(b, "big")).to_bytes(len(a), "big")

"""Key derivation against the cryptography library's SP 800-108, SP 800-56C and X9.63."""

import pytest
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.kdf.kbkdf import KBKDFHMAC, CounterLocation, Mode
from cryptography.hazmat.primitives.kdf.x963kdf import X963KDF
from hypothesis import given
from hypothesis import strategies as st

from tests.tpm.crypto import library
from vtpmd.tpm.crypto import kdf
from vtpmd.tpm.wire.constants import ALG


def kbkdf(alg: int, key: bytes, label: bytes, context: bytes, size: int) -> bytes:
    return KBKDFHMAC(
        library.HASHES[alg],
        Mode.CounterMode,
        size,
        rlen=4,
        llen=4,
        location=CounterLocation.BeforeFixed,
        label=label,
        context=context,
        fixed=None,
    ).derive(key)


@given(
    alg=st.sampled_from(list(library.HASHES)),
    key=st.binary(min_size=1, max_size=150),
    label=st.sampled_from([b"ATH", b"STORAGE", b"INTEGRITY", b"CFB"]),
    contexts=st.tuples(st.binary(max_size=64), st.binary(max_size=64)),
    size=st.integers(1, 300),
)
def test_kdfa(alg: int, key: bytes, label: bytes, contexts: tuple[bytes, bytes], size: int) -> None:
    expected = kbkdf(alg, key, label, b"".join(contexts), size)
    assert kdf.kdfa(alg, key, label, *contexts, size * 8) == expected
    assert kdf.kdfa(alg, key, label + b"\0", *contexts, size * 8) == expected


@given(
    alg=st.sampled_from(list(library.HASHES)),
    z=st.binary(min_size=1, max_size=66),
    parties=st.tuples(st.binary(max_size=66), st.binary(max_size=66)),
    size=st.integers(1, 200),
)
def test_kdfe(alg: int, z: bytes, parties: tuple[bytes, bytes], size: int) -> None:
    info = b"DUPLICATE\0" + b"".join(parties)
    expected = ConcatKDFHash(library.HASHES[alg], size, info).derive(z)
    assert kdf.kdfe(alg, z, b"DUPLICATE", *parties, size * 8) == expected
    assert kdf.kdf1_sp800_56a(alg, z, info, size * 8) == expected


@given(seed=st.binary(min_size=1, max_size=100), size=st.integers(1, 200))
def test_kdf2(seed: bytes, size: int) -> None:
    expected = X963KDF(library.HASHES[ALG.SHA256], size, None).derive(seed)
    assert kdf.kdf2(ALG.SHA256, seed, size) == expected


@pytest.mark.parametrize(("bits", "mask"), [(521, 0x01), (519, 0x7F), (9, 0x01), (520, 0xFF)])
def test_unused_high_bits_are_clear(bits: int, mask: int) -> None:
    # bits is hashed into KDFa, but not into KDFe, which so shows masked and unmasked alike.
    whole = kdf.kdfe(ALG.SHA256, b"z", b"USE", b"", b"", (bits + 7) // 8 * 8)
    derived = kdf.kdfe(ALG.SHA256, b"z", b"USE", b"", b"", bits)
    assert derived == bytes([whole[0] & mask]) + whole[1:]
    high = max(kdf.kdfa(ALG.SHA256, bytes([i]), b"X", b"", b"", bits)[0] for i in range(200))
    assert mask // 2 < high <= mask


@given(data=st.binary(max_size=200), key=st.binary(min_size=1, max_size=64), context=st.binary())
def test_xor_obfuscation(data: bytes, key: bytes, context: bytes) -> None:
    obfuscated = kdf.xor_obfuscation(ALG.SHA1, key, context, b"older", data)
    assert kdf.xor_obfuscation(ALG.SHA1, key, context, b"older", obfuscated) == data
    if data:
        mask = kbkdf(ALG.SHA1, key, b"XOR", context + b"older", len(data))
        assert obfuscated == bytes(a ^ b for a, b in zip(data, mask, strict=True))


def test_xor_of_different_sizes_is_refused() -> None:
    with pytest.raises(ValueError, match="size"):
        kdf.xor(b"ab", b"a")

"""Block cipher modes, chaining values and CMAC against the cryptography library."""

import itertools
from collections.abc import Callable

import pytest
from cryptography.hazmat.decrepit.ciphers.algorithms import Camellia
from cryptography.hazmat.decrepit.ciphers.modes import CFB, OFB
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC, CTR, ECB
from cryptography.hazmat.primitives.cmac import CMAC
from hypothesis import given
from hypothesis import strategies as st

from vtpmd.tpm.crypto import cmac, symmetric
from vtpmd.tpm.wire.constants import ALG

CIPHERS: dict[int, Callable[[bytes], AES | Camellia]] = {ALG.AES: AES, ALG.CAMELLIA: Camellia}
MODES: dict[int, Callable[[bytes], CTR | OFB | CBC | CFB | ECB]] = {
    ALG.CTR: CTR,
    ALG.OFB: OFB,
    ALG.CBC: CBC,
    ALG.CFB: CFB,
    ALG.ECB: lambda iv: ECB(),
}
WHOLE_BLOCKS = (ALG.CBC, ALG.ECB)

keys = st.sampled_from((128, 192, 256)).flatmap(
    lambda bits: st.binary(min_size=bits // 8, max_size=bits // 8)
)
ivs = st.one_of(st.binary(min_size=16, max_size=16), st.just(b"\xff" * 16))
blocks = st.integers(0, 5).flatmap(lambda n: st.binary(min_size=16 * n, max_size=16 * n))


def iv_for(mode: int, iv: bytes) -> bytes:
    return b"" if mode == ALG.ECB else iv


def library_encrypt(alg: int, key: bytes, mode: int, iv: bytes, data: bytes) -> bytes:
    if alg == ALG.CAMELLIA and mode == ALG.CTR:
        # The library lacks this mode: one block at a time from ECB.
        counters = itertools.count(int.from_bytes(iv, "big"))
        stream = b"".join(
            library_encrypt(alg, key, ALG.ECB, b"", (next(counters) % 2**128).to_bytes(16, "big"))
            for _ in range(0, len(data), 16)
        )
        return bytes(a ^ b for a, b in zip(data, stream, strict=False))
    return Cipher(CIPHERS[alg](key), MODES[mode](iv)).encryptor().update(data)


@given(
    alg=st.sampled_from(list(CIPHERS)),
    mode=st.sampled_from(list(MODES)),
    key=keys,
    iv=ivs,
    head=blocks,
    tail=st.binary(max_size=40),
)
def test_modes_and_chaining(
    alg: int, mode: int, key: bytes, iv: bytes, head: bytes, tail: bytes
) -> None:
    if mode in WHOLE_BLOCKS:
        tail = tail[: len(tail) // 16 * 16]
    iv = iv_for(mode, iv)
    expected = library_encrypt(alg, key, mode, iv, head + tail)
    first, chained = symmetric.encrypt(alg, key, mode, iv, head)
    second, last = symmetric.encrypt(alg, key, mode, chained, tail)
    assert first + second == expected
    opened, chained_back = symmetric.decrypt(alg, key, mode, iv, first)
    rest, last_back = symmetric.decrypt(alg, key, mode, chained_back, second)
    assert opened + rest == head + tail
    assert (chained_back, last_back) == (chained, last)


@pytest.mark.parametrize("alg", CIPHERS)
@pytest.mark.parametrize(
    ("mode", "last"),
    [
        # Data of 20 zero octets: what follows a partial block.
        (ALG.CTR, lambda key_stream: (0x10000000000000000000000000000001).to_bytes(16, "big")),
        (ALG.OFB, lambda key_stream: key_stream[16:32]),
        (ALG.CFB, lambda key_stream: key_stream[16:32]),
    ],
)
def test_chaining_value_after_a_partial_block(
    alg: int, mode: int, last: Callable[[bytes], bytes]
) -> None:
    key = bytes(range(16))
    iv = (0x0FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF).to_bytes(16, "big")
    key_stream = library_encrypt(alg, key, mode, iv, bytes(32))
    assert symmetric.encrypt(alg, key, mode, iv, bytes(20)) == (key_stream[:20], last(key_stream))
    assert symmetric.decrypt(alg, key, mode, iv, key_stream[:20])[1] == last(key_stream)


@pytest.mark.parametrize("mode", WHOLE_BLOCKS)
@pytest.mark.parametrize("transform", [symmetric.encrypt, symmetric.decrypt])
@pytest.mark.parametrize("size", [1, 15, 17])
def test_partial_blocks_are_a_defect_of_the_caller(
    mode: int, transform: Callable[[int, bytes, int, bytes, bytes], object], size: int
) -> None:
    with pytest.raises(ValueError, match="blocks"):
        transform(ALG.AES, bytes(16), mode, iv_for(mode, bytes(16)), bytes(size))


@pytest.mark.parametrize(("mode", "iv"), [(ALG.ECB, bytes(16)), (ALG.CFB, b""), (ALG.CTR, b"i")])
def test_iv_of_the_wrong_size_is_a_defect_of_the_caller(mode: int, iv: bytes) -> None:
    with pytest.raises(ValueError, match="IV"):
        symmetric.encrypt(ALG.AES, bytes(16), mode, iv, bytes(16))


@given(key=keys, iv=ivs, data=st.binary(max_size=100))
def test_cfb_shortcuts(key: bytes, iv: bytes, data: bytes) -> None:
    ciphertext = symmetric.cfb_encrypt(ALG.AES, key, iv, data)
    assert ciphertext == library_encrypt(ALG.AES, key, ALG.CFB, iv, data)
    assert symmetric.cfb_decrypt(ALG.AES, key, iv, ciphertext) == data


def test_block_sizes() -> None:
    assert symmetric.block_size(ALG.AES) == symmetric.block_size(ALG.CAMELLIA) == 16
    assert symmetric.block_size(ALG.SHA256) == 0


RFC_4493_KEY = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")
RFC_4493_MESSAGE = bytes.fromhex(
    "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
    "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
)


@pytest.mark.parametrize(
    ("size", "mac"),
    [
        (0, "bb1d6929e95937287fa37d129b756746"),
        (16, "070a16b46b4d4144f79bdd9dd04a287c"),
        (40, "dfa66747de9ae63030ca32611497c827"),
        (64, "51f0bebf7e3b9d92fc49741779363cfe"),
    ],
)
def test_cmac_of_rfc_4493(size: int, mac: str) -> None:
    running = cmac.Cmac(ALG.AES, RFC_4493_KEY)
    running.update(RFC_4493_MESSAGE[:size])
    assert running.digest().hex() == mac


@given(
    alg=st.sampled_from(list(CIPHERS)),
    key=keys,
    parts=st.lists(st.binary(max_size=50), max_size=6),
)
def test_cmac_in_pieces_saved_in_between(alg: int, key: bytes, parts: list[bytes]) -> None:
    oracle = CMAC(CIPHERS[alg](key))
    oracle.update(b"".join(parts))
    running = cmac.Cmac(alg, key)
    for part in parts:
        running.update(part)
        running = cmac.Cmac.restore(running.save())
    assert running.digest() == oracle.finalize()


@pytest.mark.parametrize("alg", [ALG.AES, ALG.SHA1])
@pytest.mark.parametrize("key", [0, 15, 16])
@pytest.mark.parametrize("state", [0, 15, 33])
def test_cmac_state_of_the_wrong_size_is_refused(alg: int, key: int, state: int) -> None:
    with pytest.raises(ValueError, match="state"):
        cmac.Cmac.restore(alg.to_bytes(2) + key.to_bytes(2) + bytes(key + state))

"""Hashes and HMACs, saved and restored anywhere, against hashlib."""

import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives.hmac import HMAC
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tpm.crypto import library
from vtpmd.tpm.crypto.hashes import HASHES
from vtpmd.tpm.crypto.resumable import MAX_LAG, ResumableHash, ResumableHmac, ResumableShake256
from vtpmd.tpm.wire.constants import ALG

algs = st.sampled_from(list(library.HASHES))
pieces = st.lists(st.tuples(st.binary(max_size=300), st.booleans()), max_size=6)


@settings(deadline=None)
@given(alg=algs, pieces=pieces)
def test_digest_survives_saving_anywhere(alg: int, pieces: list[tuple[bytes, bool]]) -> None:
    running, data = ResumableHash(alg), b""
    for piece, saved in pieces:
        running.update(piece)
        data += piece
        if saved:
            running = ResumableHash.restore(running.save())
        assert running.digest() == library.digest(alg, data)


@settings(deadline=None)
@given(alg=algs, key=st.binary(max_size=200), pieces=pieces)
def test_hmac_survives_saving_anywhere(
    alg: int, key: bytes, pieces: list[tuple[bytes, bool]]
) -> None:
    running, oracle = ResumableHmac(alg, key), HMAC(key, library.HASHES[alg])
    for piece, saved in pieces:
        running.update(piece)
        oracle.update(piece)
        if saved:
            running = ResumableHmac.restore(running.save())
    assert hmac.compare_digest(running.digest(), oracle.finalize())


@pytest.mark.parametrize("alg", library.HASHES)
def test_boundaries_of_padding(alg: int) -> None:
    block = HASHES[alg].block_size
    for size in {*range(block - 20, block + 3), 0, 1, 2 * block}:
        running = ResumableHash(alg)
        running.update(bytes(size))
        restored = ResumableHash.restore(running.save())
        restored.update(b"")
        assert restored.digest() == library.digest(alg, bytes(size))
        restored.update(bytes(block))
        assert restored.digest() == library.digest(alg, bytes(size + block))


@pytest.mark.parametrize("alg", library.HASHES)
def test_what_waits_and_what_is_saved_is_bounded(alg: int) -> None:
    block = HASHES[alg].block_size
    running, data = ResumableHash(alg), bytes(range(256)) * 100
    for offset in range(0, len(data), 1000):
        running.update(data[offset : offset + 1000])
        assert len(running._waiting) <= MAX_LAG * block
    saved = running.save()
    assert len(saved) < 10 + 200 + block
    assert ResumableHash.restore(saved).digest() == running.digest() == library.digest(alg, data)


def saved_state() -> bytes:
    running = ResumableHash(ALG.SHA256)
    running.update(b"a" * 100)
    return running.save()


@pytest.mark.parametrize(
    "saved",
    [
        b"",
        saved_state()[:9],
        saved_state()[:-1],
        saved_state() + b"\0",
        b"\x00\x10" + saved_state()[2:],
        saved_state()[:2] + b"\xff" * 8 + saved_state()[10:],
        saved_state()[:2] + (36).to_bytes(8, "big") + saved_state()[10:],
    ],
    ids=["empty", "no header", "short", "long", "no hash", "total", "chain before a block"],
)
def test_what_cannot_be_a_state_is_refused(saved: bytes) -> None:
    with pytest.raises(ValueError, match="state"):
        ResumableHash.restore(saved)


@given(saved=st.binary(max_size=300))
def test_restore_never_fails_otherwise(saved: bytes) -> None:
    try:
        restored = ResumableHash.restore(saved)
    except ValueError:
        return
    assert restored.save() == saved


def test_hmac_state_of_another_kind_is_refused() -> None:
    hmac_state = ResumableHmac(ALG.SHA1, b"k").save()
    for saved in (ResumableHash(ALG.SHA256).save(), hmac_state[2:], b"\0\0" + hmac_state[66:]):
        with pytest.raises(ValueError, match="state"):
            ResumableHmac.restore(saved)


@settings(deadline=None)
@given(pieces=pieces)
def test_shake_survives_saving_anywhere(pieces: list[tuple[bytes, bool]]) -> None:
    running, data = ResumableShake256(), b""
    for piece, saved in pieces:
        running.update(piece)
        data += piece
        if saved:
            running = ResumableShake256.restore(running.save())
        assert running.digest() == hashlib.shake_256(data).digest(64)


def test_boundaries_of_the_padding_of_shake() -> None:
    for size in (0, 1, 134, 135, 136, 137, 271, 272):
        running = ResumableShake256.restore(ResumableShake256().save())
        running.update(bytes(136))
        resumed = ResumableShake256.restore(running.save())
        resumed.update(bytes(size))
        assert resumed.digest() == hashlib.shake_256(bytes(136 + size)).digest(64)


@pytest.mark.parametrize("size", [1, 114, 135])
def test_other_sizes_of_output(size: int) -> None:
    running = ResumableShake256(size)
    running.update(bytes(200))
    for resumed in (running, ResumableShake256.restore(running.save())):
        resumed.update(b"more")
        assert resumed.digest() == hashlib.shake_256(bytes(200) + b"more").digest(size)
        running = resumed


@pytest.mark.parametrize(
    "saved",
    [b"", bytes(8), b"\x88" + ResumableShake256().save()[1:], ResumableShake256().save()[:-1]],
)
def test_states_that_no_shake_can_have(saved: bytes) -> None:
    with pytest.raises(ValueError, match="state"):
        ResumableShake256.restore(saved)


@pytest.mark.parametrize("restored", [False, True])
def test_copies_go_on_by_themselves(restored: bool) -> None:
    """Before and after their state was saved, when they no longer have hashlib's help."""
    one, mac, shake = (
        ResumableHash(ALG.SHA256),
        ResumableHmac(ALG.SHA256, b"k"),
        ResumableShake256(),
    )
    for running in (one, mac, shake):
        running.update(b"a" * 200)
    if restored:
        one, mac = ResumableHash.restore(one.save()), ResumableHmac.restore(mac.save())
        shake = ResumableShake256.restore(shake.save())
    before = one.digest(), mac.digest(), shake.digest()
    copies = one.copy(), mac.copy(), shake.copy()
    for duplicate in copies:
        duplicate.update(b"b")
    assert (one.digest(), mac.digest(), shake.digest()) == before
    data = b"a" * 200 + b"b"
    assert copies[0].digest() == hashlib.sha256(data).digest()
    assert copies[1].digest() == hmac.digest(b"k", data, "sha256")
    assert copies[2].digest() == hashlib.shake_256(data).digest(64)

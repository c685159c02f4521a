"""Hash and HMAC against the cryptography library and published values."""

import pytest
from cryptography.hazmat.primitives.hmac import HMAC

from tests.tpm.crypto import library
from vtpmd.tpm.crypto import hashes
from vtpmd.tpm.wire.constants import ALG


@pytest.mark.parametrize("alg", library.HASHES)
def test_digest_and_hmac(alg: int) -> None:
    assert hashes.digest(alg, b"a", b"", b"bc") == library.digest(alg, b"abc")
    for key in (b"", b"key", b"k" * 200):
        oracle = HMAC(key, library.HASHES[alg])
        oracle.update(b"message")
        expected = oracle.finalize()
        assert hashes.hmac(alg, key, b"mes", b"sage") == expected
        kept = hashes.HmacKey(alg, key)
        assert [kept.hmac(b"message") for _ in range(2)] == [expected] * 2
        assert kept.has(key)
        assert not kept.has(key + b"\0")  # although its HMACs are the same


@pytest.mark.parametrize("alg", library.HASHES)
def test_sizes(alg: int) -> None:
    assert hashes.digest_size(alg) == library.HASHES[alg].digest_size
    key = b"k" * hashes.block_size(alg)
    assert hashes.hmac(alg, key) != hashes.hmac(alg, library.digest(alg, key))
    assert hashes.hmac(alg, key + b"k") == hashes.hmac(alg, library.digest(alg, key + b"k"))


@pytest.mark.parametrize("alg", [ALG.NULL, ALG.SM3_256, ALG.AES, 0])
def test_what_is_no_hash_has_size_zero(alg: int) -> None:
    assert hashes.digest_size(alg) == 0


@pytest.mark.parametrize(
    ("alg", "prefix"),
    [
        (ALG.SHA1, "3021300906052b0e03021a05000414"),
        (ALG.SHA256, "3031300d060960864801650304020105000420"),
        (ALG.SHA384, "3041300d060960864801650304020205000430"),
        (ALG.SHA512, "3051300d060960864801650304020305000440"),
    ],
)
def test_digest_info_of_rfc_8017(alg: int, prefix: str) -> None:
    assert hashes.HASHES[alg].der_prefix.hex() == prefix

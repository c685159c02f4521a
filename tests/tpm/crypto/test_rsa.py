"""RSA against the cryptography library, in both directions, and what bad input gives."""

from collections.abc import Callable

import gmpy2
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric import rsa as library_rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from tests.tpm.crypto import library
from vtpmd.tpm.crypto import rsa_schemes
from vtpmd.tpm.crypto.primes import never
from vtpmd.tpm.crypto.rsa import RsaKey, RsaPublicKey, generate
from vtpmd.tpm.rc import RC, TpmError
from vtpmd.tpm.wire.constants import ALG

entropy = library.entropy
LABEL = b"label\0"


@pytest.fixture(scope="module", params=[1024, 2048])
def pair(request: pytest.FixtureRequest) -> tuple[RsaKey, library_rsa.RSAPrivateKey]:
    """One key, as ours and as the library's."""
    theirs = library_rsa.generate_private_key(65537, request.param)
    numbers = theirs.private_numbers()
    return RsaKey.from_prime(numbers.p * numbers.q, 65537, numbers.q), theirs


Pair = tuple[RsaKey, library_rsa.RSAPrivateKey]


def code(action: Callable[..., object], *arguments: object) -> int:
    """The response code of a call that fails."""
    with pytest.raises(TpmError) as error:
        action(*arguments)
    return error.value.code


def oaep(alg: int) -> padding.OAEP:
    return padding.OAEP(padding.MGF1(library.HASHES[alg]), library.HASHES[alg], LABEL)


def fits(alg: int, key: RsaKey) -> bool:
    return key.public.size >= 2 * library.HASHES[alg].digest_size + 2


def test_raw(pair: Pair) -> None:
    ours, theirs = pair
    numbers = theirs.private_numbers()
    n = numbers.p * numbers.q
    for message in (
        b"",
        b"\0\0",
        b"message",
        b"\0" * 300 + b"x",
        (n - 1).to_bytes(ours.public.size),
    ):
        number = int.from_bytes(message, "big")
        expected = pow(number, 65537, n).to_bytes(ours.public.size, "big")
        assert rsa_schemes.encrypt_raw(ours.public, message) == expected
        assert rsa_schemes.decrypt_raw(ours, expected, entropy) == number.to_bytes(
            ours.public.size, "big"
        )


def test_raw_limits(pair: Pair) -> None:
    key, size = pair[0], pair[0].public.size
    modulus = key.public.n.to_bytes(size, "big")
    assert code(rsa_schemes.encrypt_raw, key.public, modulus) == RC.VALUE
    assert code(rsa_schemes.encrypt_raw, key.public, b"\1" + bytes(size)) == RC.VALUE
    assert code(rsa_schemes.decrypt_raw, key, modulus, entropy) == RC.VALUE
    for wrong in (size - 1, size + 1, 0):
        assert code(rsa_schemes.decrypt_raw, key, bytes(wrong), entropy) == RC.SIZE


def test_rsaes(pair: Pair) -> None:
    ours, theirs = pair
    longest = b"\0" + b"m" * (ours.public.size - 12)
    for message in (b"", b"\0", b"message", longest):
        ciphertext = rsa_schemes.encrypt_rsaes(ours.public, message, entropy)
        assert theirs.decrypt(ciphertext, padding.PKCS1v15()) == message
        ciphertext = theirs.public_key().encrypt(message, padding.PKCS1v15())
        assert rsa_schemes.decrypt_rsaes(ours, ciphertext, entropy) == message
    assert code(rsa_schemes.encrypt_rsaes, ours.public, longest + b"x", entropy) == RC.VALUE


@pytest.mark.parametrize(
    "block",
    [
        b"\0\2" + b"p" * 7 + b"\0" + b"message",
        b"\0\1" + b"p" * 8 + b"\0" + b"message",
        b"\1\2" + b"p" * 8 + b"\0" + b"message",
        b"\0\2" + b"p" * 200,
        b"\0\2" + b"\0" * 20,
        b"",
    ],
)
def test_rsaes_with_bad_padding(pair: Pair, block: bytes) -> None:
    key = pair[0]
    block = block[: key.public.size].ljust(key.public.size, b"p" if b"\0" in block[2:] else b"q")
    ciphertext = key.public.apply(block)
    assert code(rsa_schemes.decrypt_rsaes, key, ciphertext, entropy) == RC.VALUE


@pytest.mark.parametrize("alg", library.SHA2)
def test_oaep(pair: Pair, alg: int) -> None:
    ours, theirs = pair
    if not fits(alg, ours):
        assert code(rsa_schemes.encrypt_oaep, ours.public, alg, LABEL, b"", entropy) == RC.HASH
        assert code(rsa_schemes.decrypt_oaep, ours, alg, LABEL, bytes(128), entropy) == RC.VALUE
        return
    room = ours.public.size - 2 * library.HASHES[alg].digest_size - 2
    for message in (b"", b"\0\1", b"m" * room):
        ciphertext = rsa_schemes.encrypt_oaep(ours.public, alg, LABEL, message, entropy)
        assert theirs.decrypt(ciphertext, oaep(alg)) == message
        ciphertext = theirs.public_key().encrypt(message, oaep(alg))
        assert rsa_schemes.decrypt_oaep(ours, alg, LABEL, ciphertext, entropy) == message
    too_long = b"m" * (room + 1)
    assert code(rsa_schemes.encrypt_oaep, ours.public, alg, LABEL, too_long, entropy) == RC.VALUE


def test_oaep_with_what_it_was_not_made_for(pair: Pair) -> None:
    key = pair[0]
    ciphertext = rsa_schemes.encrypt_oaep(key.public, ALG.SHA1, LABEL, b"message", entropy)
    for alg, label in ((ALG.SHA1, b"label"), (ALG.SHA1, b""), (ALG.SHA256, LABEL)):
        assert code(rsa_schemes.decrypt_oaep, key, alg, label, ciphertext, entropy) == RC.VALUE
    for changed in (bytes(len(ciphertext)), ciphertext[:-1] + bytes([ciphertext[-1] ^ 1])):
        assert code(rsa_schemes.decrypt_oaep, key, ALG.SHA1, LABEL, changed, entropy) == RC.VALUE


def opened(theirs: library_rsa.RSAPrivateKey, octets: bytes) -> bytes:
    """The padded block under a ciphertext, by the definition of RSA."""
    numbers = theirs.private_numbers()
    n = numbers.public_numbers.n
    return pow(int.from_bytes(octets), numbers.d, n).to_bytes(len(octets))


def closed(theirs: library_rsa.RSAPrivateKey, block: bytes) -> bytes:
    """The inverse of `opened`."""
    numbers = theirs.public_key().public_numbers()
    assert int.from_bytes(block) < numbers.n
    return pow(int.from_bytes(block), numbers.e, numbers.n).to_bytes(len(block))


def masked(alg: int, seed: bytes, data: bytes) -> bytes:
    """`data` XOR MGF1(seed) (RFC 8017, B.2.1)."""
    mask, counter = b"", 0
    while len(mask) < len(data):
        mask += library.digest(alg, seed + counter.to_bytes(4))
        counter += 1
    return bytes(a ^ b for a, b in zip(data, mask, strict=False))


def oaep_block(size: int, data: bytes, first: int = 0) -> bytes:
    """An OAEP block with SHA-256: its first octet, and DB without the mask."""
    seed = library.entropy(32)
    hidden = masked(ALG.SHA256, seed, data)
    assert len(data) == size - 33
    return bytes((first,)) + masked(ALG.SHA256, hidden, seed) + hidden


def test_every_part_of_an_oaep_block_counts(pair: Pair) -> None:
    """Each fault for itself, in a block that is right but for it."""
    key, theirs = pair
    size = key.public.size
    label, zeros = library.digest(ALG.SHA256, LABEL), bytes(size - 33 - 32 - 1 - 4)
    good = label + zeros + b"\1" + b"data"

    def decrypted(block: bytes) -> bytes:
        return rsa_schemes.decrypt_oaep(key, ALG.SHA256, LABEL, closed(theirs, block), entropy)

    assert decrypted(oaep_block(size, good)) == b"data"
    assert decrypted(oaep_block(size, label + bytes(len(zeros) + 4) + b"\1")) == b""
    for block in (
        oaep_block(size, good, first=1),
        oaep_block(size, good, first=0x7F),
        oaep_block(size, bytes((label[0] ^ 1,)) + good[1:]),
        oaep_block(size, label[:-1] + bytes((label[-1] ^ 0x80,)) + good[32:]),
        oaep_block(size, label + zeros + b"\2" + b"data"),
        oaep_block(size, label + zeros[:-1] + b"\2\1" + b"data"),
        oaep_block(size, label + bytes(len(zeros) + 5)),
    ):
        assert code(decrypted, block) == RC.VALUE


def pss_block(size: int, hashed: bytes, data: bytes, *, top: int = 0, trailer: int = 0xBC) -> bytes:
    """A PSS block with SHA-256 for a key whose length is a multiple of 8 bits.

    `data` is DB without the mask; its salt is what follows the first octet 1, if there is one.
    """
    salt = data.partition(b"\1")[2]
    check = library.digest(ALG.SHA256, bytes(8) + hashed + salt)
    assert len(data) == size - 33
    hidden = bytearray(masked(ALG.SHA256, check, data))
    hidden[0] = hidden[0] & 0x7F | top
    return bytes(hidden) + check + bytes((trailer,))


def test_every_part_of_a_pss_block_counts(pair: Pair) -> None:
    key, theirs = pair
    size, hashed = key.public.size, library.digest(ALG.SHA256, b"message")
    salt = b"\x5a" * 32
    zeros = bytes(size - 33 - 32 - 1)
    good = zeros + b"\1" + salt

    def verifies(block: bytes) -> bool:
        return rsa_schemes.verify_rsapss(key.public, ALG.SHA256, hashed, opened(theirs, block))

    assert verifies(pss_block(size, hashed, good))
    for block in (
        pss_block(size, hashed, good, trailer=0xBD),
        pss_block(size, hashed, zeros + b"\2" + salt),
        pss_block(size, hashed, b"\0\2" + zeros[2:] + b"\1" + salt),
        pss_block(size, hashed, bytes(size - 33)),
        pss_block(size, library.digest(ALG.SHA256, b"other"), good),
    ):
        assert not verifies(block)


def test_the_unused_bit_of_a_pss_block_is_zero(pair: Pair) -> None:
    """The block is one bit shorter than the modulus (RFC 8017, 9.1.2, step 6)."""
    key, theirs = pair
    size = key.public.size
    data = bytes(size - 33 - 32 - 1) + b"\1" + b"\x5a" * 32
    found = 0
    for number in range(1 << 16):
        hashed = library.digest(ALG.SHA256, number.to_bytes(2))
        block = pss_block(size, hashed, data, top=0x80)
        if int.from_bytes(block) >= key.public.n:
            continue
        wrong, right = (opened(theirs, bytes((block[0] & ~top,)) + block[1:]) for top in (0, 0x80))
        assert not rsa_schemes.verify_rsapss(key.public, ALG.SHA256, hashed, wrong)
        assert rsa_schemes.verify_rsapss(key.public, ALG.SHA256, hashed, right)
        found += 1
        if found == 4:
            return
    raise AssertionError("no block is below the modulus")


def test_what_is_decrypted_is_blinded(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is raised to the secret exponent is another number each time, and not the caller's."""
    key, theirs = pair
    ciphertext = closed(theirs, b"\0" + b"m" * (key.public.size - 1))
    bases: list[int] = []
    power = gmpy2.powmod_sec

    def watched(base: int, exponent: int, modulus: int) -> int:
        bases.append(int(base % modulus))
        return int(power(base, exponent, modulus))

    monkeypatch.setattr(gmpy2, "powmod_sec", watched)
    for _ in range(3):
        block = rsa_schemes.decrypt_raw(key, ciphertext, entropy)
        assert block == b"\0" + b"m" * (key.public.size - 1)
    value = int.from_bytes(ciphertext)
    assert len(set(bases)) == len(bases) == 6
    assert not {value % key.p, value % key.q} & set(bases)


def test_a_factor_without_an_inverse_blinds_nothing(pair: Pair) -> None:
    """Zero, or a multiple of a prime: another is drawn."""
    key, theirs = pair
    ciphertext = closed(theirs, bytes(key.public.size - 1) + b"\7")
    drawn = [0, key.p, 2 * key.q, key.public.n]

    def first_bad(size: int) -> bytes:
        return drawn.pop(0).to_bytes(size) if drawn else entropy(size)

    block = rsa_schemes.decrypt_raw(key, ciphertext, first_bad)
    assert (block[-1], drawn) == (7, [])


@pytest.mark.parametrize("alg", library.HASHES)
def test_rsassa(pair: Pair, alg: int) -> None:
    ours, theirs = pair
    hashed = library.digest(alg, b"message")
    prehashed = Prehashed(library.HASHES[alg])
    signature = rsa_schemes.sign_rsassa(ours, alg, hashed)
    theirs.public_key().verify(signature, hashed, padding.PKCS1v15(), prehashed)
    assert signature == theirs.sign(hashed, padding.PKCS1v15(), prehashed)
    assert rsa_schemes.verify_rsassa(ours.public, alg, hashed, signature)
    assert_only_this_verifies(rsa_schemes.verify_rsassa, ours, alg, hashed, signature)


@pytest.mark.parametrize("alg", library.HASHES)
def test_rsapss(pair: Pair, alg: int) -> None:
    ours, theirs = pair
    hash_ = library.HASHES[alg]
    hashed = library.digest(alg, b"message")
    size = min(hash_.digest_size, ours.public.size - hash_.digest_size - 2)
    signature = rsa_schemes.sign_rsapss(ours, alg, hashed)
    theirs.public_key().verify(
        signature, hashed, padding.PSS(padding.MGF1(hash_), size), Prehashed(hash_)
    )
    assert rsa_schemes.verify_rsapss(ours.public, alg, hashed, signature)
    assert_only_this_verifies(rsa_schemes.verify_rsapss, ours, alg, hashed, signature)


@pytest.mark.parametrize("salt", [0, 1, 20, 94])
def test_rsapss_with_any_salt(pair: Pair, salt: int) -> None:
    ours, theirs = pair
    scheme = padding.PSS(padding.MGF1(library.HASHES[ALG.SHA256]), salt)
    hashed = library.digest(ALG.SHA256, b"message")
    signature = theirs.sign(hashed, scheme, Prehashed(library.HASHES[ALG.SHA256]))
    assert rsa_schemes.verify_rsapss(ours.public, ALG.SHA256, hashed, signature)


def assert_only_this_verifies(
    verify: Callable[[RsaPublicKey, int, bytes, bytes], bool],
    key: RsaKey,
    alg: int,
    hashed: bytes,
    signature: bytes,
) -> None:
    other = bytes([hashed[0] ^ 1]) + hashed[1:]
    assert not verify(key.public, alg, other, signature)
    assert not verify(key.public, alg, hashed[:-1], signature)
    assert not verify(key.public, alg, b"", signature)
    raised = (int.from_bytes(signature, "big") + key.public.n).to_bytes(len(signature) + 1, "big")
    for changed in (
        signature[:-1],
        b"\0" + signature,
        bytes(len(signature)),
        signature[:-1] + bytes([signature[-1] ^ 1]),
        raised[-len(signature) :],
        b"\xff" * len(signature),
        b"",
    ):
        assert not verify(key.public, alg, hashed, changed)


def test_keys_too_short_for_a_digest() -> None:
    numbers = library_rsa.generate_private_key(65537, 1024).private_numbers()
    key = RsaKey(numbers.p, numbers.q, 65537)
    assert rsa_schemes.pss_salt_size(ALG.SHA512, 128) == 62
    tiny = RsaKey(0xFFF1, 0xFFD9, 11)
    for sign in (rsa_schemes.sign_rsassa, rsa_schemes.sign_rsapss):
        assert code(sign, tiny, ALG.SHA256, bytes(32)) == RC.SIZE
        assert len(sign(key, ALG.SHA512, bytes(64))) == 128


def test_signing_a_digest_of_the_wrong_size_is_a_defect_of_the_caller(pair: Pair) -> None:
    for sign in (rsa_schemes.sign_rsassa, rsa_schemes.sign_rsapss):
        with pytest.raises(ValueError, match="digest"):
            sign(pair[0], ALG.SHA256, bytes(31))


@pytest.mark.parametrize("bits", [1024, 2048])
@pytest.mark.parametrize("e", [65537, 65539])
def test_generated_keys(bits: int, e: int) -> None:
    key = generate(bits, e, entropy, never)
    assert key.public.n == key.p * key.q
    assert key.public.n.bit_length() == bits
    assert key.public.e == e
    signature = rsa_schemes.sign_rsassa(key, ALG.SHA256, bytes(32))
    theirs = library_rsa.RSAPublicNumbers(e, key.public.n).public_key()
    hash_ = library.HASHES[ALG.SHA256]
    theirs.verify(signature, bytes(32), padding.PKCS1v15(), Prehashed(hash_))
    with pytest.raises(InvalidSignature):
        theirs.verify(signature, bytes(31) + b"\1", padding.PKCS1v15(), Prehashed(hash_))


@pytest.mark.parametrize("e", [65537, 65539])
def test_generation_can_be_cancelled(e: int) -> None:
    assert code(generate, 2048, e, entropy, lambda: True) == RC.CANCELED


def test_parts_that_do_not_belong_together(pair: Pair) -> None:
    key = pair[0]
    n, p = key.public.n, key.p
    for modulus, e, prime in (
        (n + 2, 65537, p),
        (n, 65537, p + 2),
        (n, 65537, 0),
        (n, 65537, 1),
        (n, 65537, n),
        (n, 65536, p),
        (2 * p, 65537, p),
        (p * p, 65537, p),
        (0, 65537, p),
    ):
        assert code(RsaKey.from_prime, modulus, e, prime) == RC.BINDING


def test_a_composite_prime_does_not_sign_or_decrypt() -> None:
    """The TPM takes it (Part 1, 43.1), but nothing wrong may leave."""
    p = library_rsa.generate_private_key(65537, 2048).private_numbers().p
    composite = 3 * ((1 << 1024) // 3 - 1 | 1)
    key = RsaKey.from_prime(composite * p, 65537, p)
    # Nothing of one octet again and again: that is 0 modulo most factors of 2^1024 - 1, and right.
    message = bytes(range(1, 256)) + b"\1"
    for action in (
        lambda: rsa_schemes.sign_rsassa(key, ALG.SHA256, bytes(32)),
        lambda: rsa_schemes.sign_rsapss(key, ALG.SHA256, bytes(32)),
        lambda: rsa_schemes.decrypt_raw(key, message, entropy),
    ):
        assert code(action) == RC.BINDING


@pytest.mark.parametrize("n", [0, 1, 2, 2**1023, 2**1024 - 2, 15])
@pytest.mark.parametrize("e", [0, 1, 2, 65537])
def test_any_public_numbers_are_survived(n: int, e: int) -> None:
    key = RsaPublicKey(n, e)
    signature = bytes(key.size)
    assert not rsa_schemes.verify_rsassa(key, ALG.SHA1, bytes(20), signature)
    assert not rsa_schemes.verify_rsapss(key, ALG.SHA1, bytes(20), signature)
    if n < 256:
        assert code(rsa_schemes.encrypt_raw, key, b"\xff") == RC.VALUE
        assert code(rsa_schemes.encrypt_rsaes, key, b"", entropy) == RC.VALUE
    else:
        assert len(rsa_schemes.encrypt_rsaes(key, b"message", entropy)) == 128


def test_secrets_are_not_shown(pair: Pair) -> None:
    assert str(pair[0].p)[:20] not in repr(pair[0]) + repr(vars(pair[0])["public"])

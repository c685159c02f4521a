"""Seeds shared under a label: the cryptography library plays the other party."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash

from tests.tpm.crypto import library
from tests.tpm.crypto.test_ecc import code, every_curve
from vtpmd.tpm.crypto import ecc, labelled, rsa_schemes
from vtpmd.tpm.crypto.ecc import Curve, Point
from vtpmd.tpm.crypto.rsa import RsaKey
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.constants import ALG

entropy = library.entropy
labels = pytest.mark.parametrize(
    ("label", "text"),
    [
        (labelled.SECRET, b"SECRET\0"),
        (labelled.DUPLICATE, b"DUPLICATE\0"),
        (labelled.IDENTITY, b"IDENTITY\0"),
    ],
)


@pytest.fixture(scope="module")
def theirs() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture(scope="module")
def ours(theirs: rsa.RSAPrivateKey) -> RsaKey:
    numbers = theirs.private_numbers()
    return RsaKey(numbers.p, numbers.q, 65537)


@labels
@pytest.mark.parametrize("alg", library.SHA2)
def test_rsa(ours: RsaKey, theirs: rsa.RSAPrivateKey, label: bytes, text: bytes, alg: int) -> None:
    hash_ = library.HASHES[alg]
    oaep = padding.OAEP(padding.MGF1(hash_), hash_, text)
    seed, ciphertext = labelled.rsa_encapsulate(ours.public, alg, label, entropy)
    assert len(seed) == hash_.digest_size
    assert theirs.decrypt(ciphertext, oaep) == seed
    ciphertext = theirs.public_key().encrypt(b"short", oaep)
    assert labelled.rsa_decapsulate(ours, alg, label, ciphertext, entropy) == b"short"


def test_rsa_refuses(ours: RsaKey) -> None:
    _, ciphertext = labelled.rsa_encapsulate(ours.public, ALG.SHA256, labelled.SECRET, entropy)
    opening = labelled.rsa_decapsulate
    wrong_label = (ours, ALG.SHA256, labelled.IDENTITY, ciphertext, entropy)
    assert code(opening, *wrong_label) == RC.VALUE
    wrong_size = (ours, ALG.SHA256, labelled.SECRET, ciphertext + b"\0", entropy)
    assert code(opening, *wrong_size) == RC.SIZE
    too_long = rsa_schemes.encrypt_oaep(ours.public, ALG.SHA256, b"SECRET\0", bytes(33), entropy)
    assert code(opening, ours, ALG.SHA256, labelled.SECRET, too_long, entropy) == RC.VALUE


@every_curve
@labels
def test_ecc(curve: Curve, label: bytes, text: bytes) -> None:
    private = ec.generate_private_key(library.CURVES[curve.curve_id])
    numbers = private.private_numbers()
    recipient = Point(numbers.public_numbers.x, numbers.public_numbers.y)
    seed, ephemeral = labelled.ecc_encapsulate(curve, ALG.SHA384, label, recipient, entropy)
    peer = ec.EllipticCurvePublicNumbers(
        ephemeral.x, ephemeral.y, library.CURVES[curve.curve_id]
    ).public_key()
    size = (curve.key_bits + 7) // 8
    info = text + ephemeral.x.to_bytes(size, "big") + recipient.x.to_bytes(size, "big")
    shared = private.exchange(ec.ECDH(), peer)
    assert seed == ConcatKDFHash(library.HASHES[ALG.SHA384], 48, info).derive(shared)
    d = numbers.private_value
    opened = labelled.ecc_decapsulate(curve, ALG.SHA384, label, d, recipient, ephemeral)
    assert opened == seed


@every_curve
def test_ecc_refuses_points_off_the_curve(curve: Curve) -> None:
    bad = Point(curve.g.x, curve.g.y + 1)
    wrap = (curve, ALG.SHA256, labelled.SECRET, bad, entropy)
    assert code(labelled.ecc_encapsulate, *wrap) == RC.ECC_POINT
    d = ecc.private_key(curve, entropy)
    public = ecc.public_point(curve, d)
    opening = (curve, ALG.SHA256, labelled.SECRET, d, public, bad)
    assert code(labelled.ecc_decapsulate, *opening) == RC.ECC_POINT

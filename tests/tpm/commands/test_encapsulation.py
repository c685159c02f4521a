"""Encapsulate and Decapsulate (14.10 and 14.11): ML-KEM, and DHKEM of ECC keys."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.tpm import areas
from tests.tpm.areas import DECRYPT, NO_DA, NONE, OWN, SIGN, STORAGE, words
from tests.tpm.crypto.test_dhkem import KEMS as DHKEMS
from tests.tpm.crypto.test_dhkem import shared_secret
from tests.tpm.harness import CONTINUE, ENCRYPT, Password, Result, Tester, sized
from tests.tpm.known_keys import ecc_areas, ecc_key, hmac_areas, point, rsa_areas
from tests.tpm.seeded_keys import H1, KEM_SEED, KEMS, P1, kem_areas, kem_public, mldsa_areas
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.constants import ALG, CC, ECC_CURVE, MLKEM_PARMS

every_set = pytest.mark.parametrize("parms", KEMS, ids=lambda parms: str(parms.name))
every_dhkem = pytest.mark.parametrize(
    ("curve", "hash_alg"), DHKEMS, ids=[ECC_CURVE(curve).name for curve, _ in DHKEMS]
)
ECDH = words(ALG.ECDH, ALG.SHA256)


def hkdf(hash_alg: int) -> bytes:
    """TPMT_KDF_SCHEME."""
    return words(ALG.HKDF, hash_alg)


def dhkem_areas(
    curve: int = ECC_CURVE.NIST_P256, hash_alg: int = ALG.SHA256, attributes: int = DECRYPT
) -> tuple[bytes, bytes]:
    return ecc_areas(attributes, ECDH, curve, hkdf(hash_alg))


def encapsulate(tester: Tester, key: int) -> Result:
    return tester.run(CC.ENCAPSULATE, [key])


def decapsulate(tester: Tester, key: int, ciphertext: bytes) -> Result:
    return tester.run(CC.DECAPSULATE, [key], sized(ciphertext), [Password()])


@every_set
def test_mlkem_encapsulates_for_others(pqc: Tester, parms: int) -> None:
    """The secret is what the oracle finds in the ciphertext."""
    key = areas.loaded_external(pqc, kem_areas(parms=parms)[0])
    answer = encapsulate(pqc, key)
    oracle = KEMS[MLKEM_PARMS(parms)]
    _, private = oracle._keygen_internal(KEM_SEED[:32], KEM_SEED[32:])
    secret, ciphertext = answer.sized(0), answer.sized(1)
    assert oracle.decaps(private, ciphertext) == secret
    assert answer.parameters == sized(secret) + sized(ciphertext)
    assert len(secret) == 32


@every_set
def test_mlkem_decapsulates_what_others_made(pqc: Tester, parms: int) -> None:
    key = areas.loaded_external(pqc, *kem_areas(parms=parms))
    secret, ciphertext = KEMS[MLKEM_PARMS(parms)].encaps(kem_public(parms))
    answer = decapsulate(pqc, key, ciphertext)
    assert (answer.rc, answer.parameters) == (0, sized(secret))
    changed = decapsulate(pqc, key, bytes((ciphertext[0] ^ 1,)) + ciphertext[1:])
    assert changed.rc == 0, "rejected implicitly (FIPS 203, 6.3)"
    assert changed.sized() != secret


@every_dhkem
def test_dhkem_is_that_of_the_rfc(pqc: Tester, curve: int, hash_alg: int) -> None:
    kem, name = DHKEMS[ECC_CURVE(curve), ALG(hash_alg)]
    private = ecc_key(curve)
    x, y = point(private.public_key())
    key = areas.loaded_external(pqc, *dhkem_areas(curve, hash_alg))
    answer = encapsulate(pqc, key)
    secret, ciphertext = answer.sized(0), answer.sized(1)
    ephemeral = ec.EllipticCurvePublicKey.from_encoded_point(private.curve, ciphertext)
    shared = private.exchange(ec.ECDH(), ephemeral)
    assert secret == shared_secret(kem, name, shared, ciphertext + b"\4" + x + y)
    assert decapsulate(pqc, key, ciphertext).parameters == sized(secret)


def test_the_scheme_of_an_ecc_key_does_not_matter(pqc: Tester) -> None:
    """Part 2, 12.2.3.5: the hash of ECDH is ignored."""
    pair = ecc_areas(DECRYPT, words(ALG.ECDH, ALG.SHA512), ECC_CURVE.NIST_P256, hkdf(ALG.SHA256))
    other = areas.loaded_external(pqc, *pair)
    one = areas.loaded_external(pqc, *dhkem_areas())
    made = encapsulate(pqc, other)
    assert decapsulate(pqc, one, made.sized(1)).sized() == made.sized(0)


NO_KEMS = {
    "RSA": rsa_areas(DECRYPT),
    "ECC without a KDF": ecc_areas(DECRYPT, ECDH),
    "signing": mldsa_areas(),
    "HMAC": hmac_areas(SIGN, words(ALG.HMAC, ALG.SHA256)),
}


@pytest.mark.parametrize("pair", NO_KEMS.values(), ids=NO_KEMS.keys())
def test_keys_that_are_for_no_kem(pqc: Tester, pair: tuple[bytes, bytes]) -> None:
    key = areas.loaded_external(pqc, *pair)
    assert encapsulate(pqc, key).rc == RC.KEY | H1
    assert decapsulate(pqc, key, bytes(1088)).rc == RC.KEY | H1


def test_only_decapsulation_looks_at_attributes(pqc: Tester) -> None:
    """14.10: the TPM does not verify them; 14.11: restricted CLEAR and decrypt SET."""
    template = areas.mlkem(OWN | STORAGE | NO_DA, symmetric=areas.AES_128_CFB)
    key = areas.loaded_primary(pqc, template)
    made = encapsulate(pqc, key)
    assert made.rc == 0
    assert decapsulate(pqc, key, made.sized(1)).rc == RC.ATTRIBUTES | H1
    public = areas.mlkem(areas.USER_AUTH | SIGN, unique=kem_public())
    assert encapsulate(pqc, areas.loaded_external(pqc, public)).rc == 0


@pytest.mark.parametrize("size", [0, 1087, 1089])
def test_ciphertexts_of_another_size(pqc: Tester, size: int) -> None:
    key = areas.loaded_external(pqc, *kem_areas())
    assert decapsulate(pqc, key, bytes(size)).rc == RC.SIZE | P1


def test_ciphertexts_that_are_no_points(pqc: Tester) -> None:
    key = areas.loaded_external(pqc, *dhkem_areas())
    x, y = point(ecc_key().public_key())
    assert decapsulate(pqc, key, b"\4" + x + y).rc == 0
    assert decapsulate(pqc, key, b"\4" + x).rc == RC.SIZE | P1
    assert decapsulate(pqc, key, b"\3" + x + y).rc == RC.ECC_POINT | P1
    assert decapsulate(pqc, key, b"\4" + y + x).rc == RC.ECC_POINT | P1


def test_a_point_that_is_on_no_curve(pqc: Tester) -> None:
    """A key without a Name is not looked at before it is used."""
    public = areas.ecc(
        DECRYPT, alg=ALG.NULL, scheme=ECDH, kdf=hkdf(ALG.SHA256), x=bytes(32), y=bytes(32)
    )
    assert encapsulate(pqc, areas.loaded_external(pqc, public)).rc == RC.KEY | H1


def test_secrets_can_be_encrypted(pqc: Tester) -> None:
    """The shared secret is the first parameter of both responses."""
    key = areas.loaded_external(pqc, *kem_areas())
    session = pqc.start_session(bind=key, aes_bits=128)
    session.attributes = CONTINUE | ENCRYPT
    made = pqc.run(CC.ENCAPSULATE, [key], auths=[session])
    parameters = sized(made.sized(1))
    opened = pqc.run(CC.DECAPSULATE, [key], parameters, [Password(), session])
    assert made.rc == opened.rc == 0
    assert opened.sized() == made.sized(0)


def test_which_kdfs_a_key_may_have(pqc: Tester) -> None:
    """Part 2, 12.2.3.5: only an unrestricted decryption key by ECDH, and a KDF of RFC 9180."""
    template = areas.ecc
    allowed = template(OWN | DECRYPT | NO_DA, scheme=ECDH, kdf=hkdf(ALG.SHA256))
    areas.flush(pqc, areas.loaded_primary(pqc, allowed))
    refused = {
        "another hash": template(OWN | DECRYPT, scheme=ECDH, kdf=hkdf(ALG.SHA384)),
        "another KDF": template(OWN | DECRYPT, scheme=ECDH, kdf=words(ALG.KDF2, ALG.SHA256)),
        "no scheme": template(OWN | DECRYPT, kdf=hkdf(ALG.SHA256)),
        "signing": template(OWN | SIGN, scheme=words(ALG.ECDSA, ALG.SHA256), kdf=hkdf(ALG.SHA256)),
        "both": template(OWN | SIGN | DECRYPT, kdf=hkdf(ALG.SHA256)),
        "storage": template(OWN | STORAGE, symmetric=areas.AES_128_CFB, kdf=hkdf(ALG.SHA256)),
    }
    for name, wrong in refused.items():
        assert areas.create_primary(pqc, wrong).rc == RC.KDF | 0x240, name


def test_test_parms_knows_which_kdfs_there_are(pqc: Tester) -> None:
    head = words(ALG.ECC) + NONE + ECDH
    for curve, hash_alg, rc in (
        (ECC_CURVE.NIST_P256, ALG.SHA256, 0),
        (ECC_CURVE.NIST_P384, ALG.SHA384, 0),
        (ECC_CURVE.NIST_P384, ALG.SHA256, RC.KDF | P1),
    ):
        parameters = head + words(curve) + hkdf(hash_alg)
        assert pqc.run(CC.TEST_PARMS, params=parameters).rc == rc


def test_the_default_profile_has_none_of_it(tester: Tester) -> None:
    template = areas.ecc(OWN | DECRYPT | NO_DA, scheme=ECDH, kdf=hkdf(ALG.SHA256))
    assert areas.create_primary(tester, template).rc == RC.KDF | 0x240
    assert areas.create_primary(tester, areas.mlkem(OWN | DECRYPT)).rc == RC.TYPE | 0x240
    for code in (CC.ENCAPSULATE, CC.DECAPSULATE):
        assert tester.run(code).rc == RC.COMMAND_CODE

"""Keys of X25519 and X448 (Part 1, 44.4, 44.5 and 44.7; Part 2, 12.2.3.5)."""

import struct

import pytest

from tests.tpm import areas
from tests.tpm.areas import AES_128_CFB, DECRYPT, NO_DA, NONE, OWN, SIGN, STORAGE, USER_AUTH, words
from tests.tpm.crypto.test_dhkem import shared_secret
from tests.tpm.harness import CONTINUE, ENCRYPT, HASH_NAMES, Password, Result, Tester, digest, sized
from tests.tpm.known_keys import ecc_areas
from tests.tpm.octet_keys import (
    ECDH,
    EDDSA,
    X_PUBLIC,
    X_SIZE,
    X,
    octet_areas,
    public_of,
    shared,
)
from tests.tpm.seeded_keys import H1, P1, P2
from tests.tpm.wrapping import kdfe, protect, unprotect
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.constants import ALG, CC, ECC_CURVE

C25519, C448 = ECC_CURVE.CURVE_25519, ECC_CURVE.CURVE_448
every_curve = pytest.mark.parametrize("curve", [C25519, C448], ids=["25519", "448"])
DHKEMS = {C25519: (ALG.SHA256, 0x20), C448: (ALG.SHA512, 0x21)}
"""Hash and kem_id, from RFC 9180, table 2."""
SEED = bytes(range(100, 132))


def x_areas(curve: int, *, kdf: bytes = NONE) -> tuple[bytes, bytes]:
    """A key that exchanges."""
    return octet_areas(curve, ECDH, DECRYPT, kdf=kdf)


def storage_areas(curve: int) -> tuple[bytes, bytes]:
    return octet_areas(curve, NONE, STORAGE, symmetric=AES_128_CFB, seed=SEED)


def seed_for(curve: int, label: bytes, public: bytes) -> tuple[bytes, bytes]:
    """(seed, TPM2B_ENCRYPTED_SECRET) for the holder of a key by SHA-256 (equation 63)."""
    ephemeral = X[ECC_CURVE(curve)].generate()
    own = ephemeral.public_key().public_bytes_raw()
    z = ephemeral.exchange(X_PUBLIC[ECC_CURVE(curve)].from_public_bytes(public))  # type: ignore[arg-type]
    return kdfe(ALG.SHA256, z, label, own, public, 256), sized(own) + sized(b"")


def opened(curve: int, label: bytes, secret: bytes) -> bytes:
    """The seed in a secret for the key of `octet_areas`."""
    point = Result(0, None, secret)
    assert (len(point.sized(0)), point.sized(1)) == (X_SIZE[ECC_CURVE(curve)], b"")
    own = public_of(curve, signs=False)
    return kdfe(ALG.SHA256, shared(curve, point.sized(0)), label, point.sized(0), own, 256)


def point(octets: bytes) -> bytes:
    """TPM2B_ECC_POINT."""
    return sized(sized(octets) + sized(b""))


@every_curve
def test_a_secret_is_shared(pqc: Tester, curve: int) -> None:
    key = areas.loaded_external(pqc, *x_areas(curve))
    answer = pqc.run(CC.ECDH_KEY_GEN, [key])
    assert answer.rc == 0, hex(answer.rc)
    z, ephemeral = Result(0, None, answer.sized(0)), Result(0, None, answer.sized(1))
    assert z.sized(1) == ephemeral.sized(1) == b""
    assert z.sized(0) == shared(curve, ephemeral.sized(0))
    again = pqc.run(CC.ECDH_ZGEN, [key], point(ephemeral.sized(0)), [Password()])
    assert again.sized() == answer.sized(0)


@every_curve
def test_points_in_another_form(pqc: Tester, curve: int) -> None:
    """44.5.1: TPM_RC_ECC_POINT; and the few that share the same with everybody."""
    key, size = areas.loaded_external(pqc, *x_areas(curve)), X_SIZE[ECC_CURVE(curve)]
    for octets, code in (
        (sized(bytes(size - 1)) + sized(b""), RC.ECC_POINT | P1),
        (sized(bytes(size + 1)) + sized(b""), RC.ECC_POINT | P1),
        (sized(bytes(size)) + sized(b"\1"), RC.ECC_POINT | P1),
        (sized(b"") + sized(b""), RC.ECC_POINT | P1),
        (sized(bytes(size)) + sized(b""), RC.NO_RESULT),
    ):
        assert pqc.run(CC.ECDH_ZGEN, [key], sized(octets), [Password()]).rc == code


def test_signing_keys_exchange_nothing(pqc: Tester) -> None:
    key = areas.loaded_external(pqc, *octet_areas())
    assert pqc.run(CC.ECDH_KEY_GEN, [key]).rc == RC.KEY | H1
    answer = pqc.run(CC.ECDH_ZGEN, [key], point(bytes(32)), [Password()])
    assert answer.rc == RC.ATTRIBUTES | H1
    assert pqc.run(CC.ENCAPSULATE, [key]).rc == RC.KEY | H1


@every_curve
def test_commands_that_need_both_coordinates(pqc: Tester, curve: int) -> None:
    key = areas.loaded_external(pqc, *x_areas(curve))
    kdf2 = words(ALG.KDF2, ALG.SHA256)
    assert pqc.run(CC.ECC_ENCRYPT, [key], sized(b"plain") + kdf2).rc == RC.KEY | H1
    params = point(bytes(32)) + sized(b"c2") + sized(bytes(32)) + kdf2
    assert pqc.run(CC.ECC_DECRYPT, [key], params, [Password()]).rc == RC.KEY | H1
    assert pqc.run(CC.EC_EPHEMERAL, params=words(curve)).rc == RC.CURVE | P1
    params = point(bytes(32)) * 2 + words(ALG.ECDH, 0)
    assert pqc.run(CC.ZGEN_2PHASE, [key], params, [Password()]).rc == RC.KEY | H1


@every_curve
def test_the_parameters_of_the_curve(pqc: Tester, curve: int) -> None:
    """RFC 7748, 4.1 and 4.2."""
    answer = pqc.run(CC.ECC_PARAMETERS, params=words(curve))
    assert answer.rc == 0, hex(answer.rc)
    size = X_SIZE[ECC_CURVE(curve)]
    bits, kdf, hash_alg = (255, 0x20, ALG.SHA256) if curve == C25519 else (448, 0x20, ALG.SHA512)
    head = words(curve, bits, kdf, hash_alg) + NONE
    assert answer.parameters[: len(head)] == head
    rest = Result(0, None, answer.parameters[len(head) :])
    p, a, b, u, v, n, h = (int.from_bytes(rest.sized(number)) for number in range(7))
    assert (v * v - b * u**3 - a * u * u - u) % p == 0, "the base point is on the curve"
    assert (b, u, h) == ((1, 9, 8) if curve == C25519 else (1, 5, 4))
    assert len(rest.sized(0)) == len(rest.sized(3)) == size
    assert (n * h).bit_length() in (8 * size, 8 * size + 1)


@every_curve
def test_areas_that_do_not_belong_together(pqc: Tester, curve: int) -> None:
    public, sensitive = x_areas(curve)
    size = X_SIZE[ECC_CURVE(curve)]
    other = public[: -2 - size] + bytes((public[-2 - size] ^ 1,)) + public[-1 - size :]
    longer = sensitive.replace(words(size), words(size + 1)) + b"\0"
    for area, secret, code in (
        (public, sensitive, 0),
        (other, sensitive, RC.BINDING),
        (public, longer, RC.KEY_SIZE),
        (other, b"", 0),
        (public[: -4 - size] + sized(bytes(size + 1)) + sized(b""), b"", RC.ECC_POINT | P2),
        (public[:-2] + sized(b"\1"), b"", RC.ECC_POINT | P2),
    ):
        answer = areas.load_external(pqc, area, secret)
        assert answer.rc == code, hex(answer.rc)
        if answer.handle is not None:
            areas.flush(pqc, answer.handle)


# Key encapsulation


@every_curve
def test_dhkem_is_that_of_the_rfc(pqc: Tester, curve: int) -> None:
    hash_alg, kem = DHKEMS[ECC_CURVE(curve)]
    key = areas.loaded_external(pqc, *x_areas(curve, kdf=words(ALG.HKDF, hash_alg)))
    answer = pqc.run(CC.ENCAPSULATE, [key])
    assert answer.rc == 0, hex(answer.rc)
    secret, ciphertext = answer.sized(0), answer.sized(1)
    context = ciphertext + public_of(curve, signs=False)
    dh = shared(curve, ciphertext)
    assert secret == shared_secret(kem, HASH_NAMES[hash_alg], dh, context)
    found = pqc.run(CC.DECAPSULATE, [key], sized(ciphertext), [Password()])
    assert found.parameters == sized(secret)
    for wrong, code in (
        (ciphertext[:-1], RC.SIZE | P1),
        (ciphertext + b"\0", RC.SIZE | P1),
        (bytes(len(ciphertext)), RC.NO_RESULT),
    ):
        assert pqc.run(CC.DECAPSULATE, [key], sized(wrong), [Password()]).rc == code


@every_curve
def test_which_kdfs_a_key_may_have(pqc: Tester, curve: int) -> None:
    for hash_alg in (ALG.SHA1, ALG.SHA256, ALG.SHA384, ALG.SHA512):
        template = areas.ecc(
            OWN | DECRYPT | NO_DA, scheme=ECDH, curve=curve, kdf=words(ALG.HKDF, hash_alg)
        )
        expected = 0 if DHKEMS[ECC_CURVE(curve)][0] == hash_alg else RC.KDF | P2
        assert areas.create_primary(pqc, template).rc == expected
    template = areas.ecc(
        OWN | SIGN | NO_DA, scheme=EDDSA, curve=curve, kdf=words(ALG.HKDF, ALG.SHA256)
    )
    assert areas.create_primary(pqc, template).rc == RC.KDF | P2


# Labelled key encapsulation, and parents


@every_curve
def test_salted_sessions(pqc: Tester, curve: int) -> None:
    parent = areas.loaded_primary(
        pqc, areas.ecc(OWN | STORAGE | NO_DA, symmetric=AES_128_CFB, curve=curve)
    )
    size = X_SIZE[ECC_CURVE(curve)]
    public = pqc.run(CC.READ_PUBLIC, [parent]).sized()[-2 - size : -2]
    salt, secret = seed_for(curve, b"SECRET", public)
    session = pqc.start_session(salt=salt, salt_key=parent, encrypted_salt=secret, aes_bits=128)
    session.attributes = CONTINUE | ENCRYPT
    assert pqc.run(CC.GET_RANDOM, params=words(16), auths=[session]).rc == 0


@every_curve
def test_credentials(pqc: Tester, curve: int) -> None:
    made = areas.create_primary(
        pqc, areas.ecc(OWN | STORAGE | NO_DA, symmetric=AES_128_CFB, curve=curve)
    )
    parent, size = made.handle, X_SIZE[ECC_CURVE(curve)]
    assert parent is not None
    target = areas.loaded_primary(pqc, areas.ecc(OWN | SIGN | NO_DA, scheme=EDDSA, curve=curve))
    seed, secret = seed_for(curve, b"IDENTITY", made.sized(0)[-2 - size : -2])
    blob = protect(ALG.SHA256, seed, pqc.name(target), sized(b"credential"))
    params, auths = sized(blob) + sized(secret), [Password(), Password()]
    answer = pqc.run(CC.ACTIVATE_CREDENTIAL, [target, parent], params, auths)
    assert (answer.rc, answer.sized()) == (0, b"credential")
    wrong = sized(blob) + sized(secret[:-2] + sized(b"\1"))
    answer = pqc.run(CC.ACTIVATE_CREDENTIAL, [target, parent], wrong, auths)
    assert answer.rc == RC.ECC_POINT | P2
    areas.flush(pqc, parent)
    known = areas.loaded_external(pqc, storage_areas(curve)[0])
    name = words(ALG.SHA256) + bytes(32)
    answer = pqc.run(CC.MAKE_CREDENTIAL, [known], sized(b"credential") + sized(name))
    assert answer.rc == 0, hex(answer.rc)
    seed = opened(curve, b"IDENTITY", answer.sized(1))
    assert unprotect(ALG.SHA256, seed, name, answer.sized(0)) == sized(b"credential")


@every_curve
def test_import_and_load_below_such_a_parent(pqc: Tester, curve: int) -> None:
    made = areas.create_primary(
        pqc, areas.ecc(OWN | STORAGE | NO_DA, symmetric=AES_128_CFB, curve=curve)
    )
    parent, size = made.handle, X_SIZE[ECC_CURVE(curve)]
    assert parent is not None
    public, sensitive = octet_areas(curve)
    seed, secret = seed_for(curve, b"DUPLICATE", made.sized(0)[-2 - size : -2])
    blob = protect(ALG.SHA256, seed, areas.name_of(public), sized(sensitive))
    imported = areas.import_object(pqc, parent, public, blob, secret=secret)
    assert imported.rc == 0, hex(imported.rc)
    assert areas.load(pqc, parent, imported.sized(), public).rc == 0
    child = areas.loaded_child(pqc, parent, areas.keyedhash(USER_AUTH | NO_DA), data=b"data")
    assert pqc.run(CC.UNSEAL, [child], auths=[Password()]).sized() == b"data"


@every_curve
def test_duplicate_to_such_a_parent(pqc: Tester, curve: int) -> None:
    primary = areas.loaded_primary(pqc, areas.storage())
    policy = digest(ALG.SHA256, bytes(32), struct.pack(">II", CC.POLICY_COMMAND_CODE, CC.DUPLICATE))
    template = areas.ecc(
        USER_AUTH | areas.ORIGIN | NO_DA | SIGN, scheme=EDDSA, curve=curve, policy=policy
    )
    handle = areas.loaded_child(pqc, primary, template)
    areas.flush(pqc, primary)
    pqc.names.clear()
    parent = areas.loaded_external(pqc, storage_areas(curve)[0])
    session = pqc.start_session(1)
    params = CC.DUPLICATE.to_bytes(4)
    assert pqc.run(CC.POLICY_COMMAND_CODE, [session.handle], params).rc == 0
    session.attributes = 0
    answer = pqc.run(CC.DUPLICATE, [handle, parent], sized(b"") + NONE, [session])
    assert answer.rc == 0, hex(answer.rc)
    seed = opened(curve, b"DUPLICATE", answer.sized(2))
    plain = unprotect(ALG.SHA256, seed, pqc.name(handle), answer.sized(1))
    assert plain[2:4] == words(ALG.ECC)


def test_p256_is_what_it_was(pqc: Tester) -> None:
    key = areas.loaded_external(pqc, *ecc_areas(DECRYPT))
    answer = pqc.run(CC.ECDH_ZGEN, [key], point(bytes(32)), [Password()])
    assert answer.rc == RC.ECC_POINT | P1

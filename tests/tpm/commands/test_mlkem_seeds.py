"""Seeds shared by ML-KEM: salts, credentials and duplicates (Part 1, 47.4 and 8.4.5.2)."""

import hashlib

import pytest

from tests.tpm import areas, objects_made
from tests.tpm.areas import (
    AES_128_CFB,
    DECRYPT,
    FIXED,
    MOVABLE,
    NO_DA,
    NONE,
    OWN,
    SIGN,
    STORAGE,
    USER_AUTH,
    words,
)
from tests.tpm.harness import (
    CONTINUE,
    ENCRYPT,
    HASH_NAMES,
    Password,
    Result,
    Session,
    Tester,
    digest,
    kdfa,
    sized,
)
from tests.tpm.seeded_keys import (
    H1,
    H2,
    KEM_SEED,
    KEMS,
    P2,
    kem_areas,
    kem_public,
    mldsa_areas,
)
from tests.tpm.wrapping import protect, unprotect
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.constants import ALG, CC, MLDSA_PARMS, MLKEM_PARMS, RH, SE

POLICY = digest(
    ALG.SHA256,
    bytes(32),
    CC.POLICY_COMMAND_CODE.to_bytes(4),
    CC.DUPLICATE.to_bytes(4),
)
AES_256_CFB = words(ALG.AES, 256, ALG.CFB)
every_kind = pytest.mark.parametrize(
    ("parms", "alg", "symmetric", "bits"),
    [
        (MLKEM_PARMS.MLKEM_768, ALG.SHA256, AES_128_CFB, 128),
        (MLKEM_PARMS.MLKEM_1024, ALG.SHA384, AES_256_CFB, 256),
        (MLKEM_PARMS.MLKEM_1024, ALG.SHA512, AES_256_CFB, 256),
    ],
    ids=["768", "1024", "1024 by SHA-512"],
)


def seed_of(alg: int, shared: bytes, label: bytes, ciphertext: bytes, public: bytes) -> bytes:
    """Equation 67."""
    bits = hashlib.new(HASH_NAMES[ALG(alg)]).digest_size * 8
    return kdfa(alg, shared, label, ciphertext, public, bits)


def share(parms: int, alg: int, label: bytes, public: bytes) -> tuple[bytes, bytes]:
    """(seed, ciphertext) for the holder of an encapsulation key."""
    shared, ciphertext = KEMS[MLKEM_PARMS(parms)].encaps(public)
    return seed_of(alg, shared, label, ciphertext, public), ciphertext


def opened(parms: int, alg: int, label: bytes, ciphertext: bytes) -> bytes:
    """The seed in a ciphertext for the key of KEM_SEED."""
    oracle = KEMS[MLKEM_PARMS(parms)]
    _, private = oracle._keygen_internal(KEM_SEED[:32], KEM_SEED[32:])
    shared = oracle.decaps(private, ciphertext)
    return seed_of(alg, shared, label, ciphertext, kem_public(parms))


def storage(parms: int, alg: int, symmetric: bytes, attributes: int = OWN) -> bytes:
    return areas.mlkem(attributes | STORAGE | NO_DA, alg=alg, symmetric=symmetric, parms=parms)


def created(tester: Tester, template: bytes) -> tuple[int, bytes]:
    """(handle, encapsulation key) of a Primary Object."""
    answer = areas.create_primary(tester, template)
    assert answer.handle is not None, hex(answer.rc)
    size = KEMS_SIZES[MLKEM_PARMS(int.from_bytes(template[-4:-2]))]
    return answer.handle, answer.sized(0)[-size:]


KEMS_SIZES = {MLKEM_PARMS.MLKEM_768: 1184, MLKEM_PARMS.MLKEM_1024: 1568}


@every_kind
def test_salted_sessions(pqc: Tester, parms: int, alg: int, symmetric: bytes, bits: int) -> None:
    """The salt is the seed labelled SECRET; the HMACs of the session need it."""
    key, public = created(pqc, storage(parms, alg, symmetric))
    salt, ciphertext = share(parms, alg, b"SECRET", public)
    session = pqc.start_session(salt=salt, salt_key=key, encrypted_salt=ciphertext, aes_bits=128)
    session.attributes = CONTINUE | ENCRYPT
    assert pqc.run(CC.GET_RANDOM, params=words(16), auths=[session]).rc == 0
    assert pqc.run(CC.GET_RANDOM, params=words(16), auths=[session]).rc == 0


def test_unrestricted_keys_salt_sessions_too(pqc: Tester) -> None:
    key, public = created(pqc, areas.mlkem(OWN | DECRYPT | NO_DA))
    salt, ciphertext = share(MLKEM_PARMS.MLKEM_768, ALG.SHA256, b"SECRET", public)
    session = pqc.start_session(salt=salt, salt_key=key, encrypted_salt=ciphertext)
    assert pqc.run(CC.GET_RANDOM, params=words(16), auths=[session]).rc != 0, "no use for it"
    session = pqc.start_session(salt=salt, salt_key=key, encrypted_salt=ciphertext, xor=True)
    session.attributes = CONTINUE | ENCRYPT
    assert pqc.run(CC.GET_RANDOM, params=words(16), auths=[session]).rc == 0


@pytest.mark.parametrize("size", [0, 1087, 1089])
def test_salts_of_another_size(pqc: Tester, size: int) -> None:
    key, _ = created(pqc, storage(MLKEM_PARMS.MLKEM_768, ALG.SHA256, AES_128_CFB))
    params = sized(bytes(16)) + sized(bytes(size)) + bytes((SE.HMAC,)) + NONE + words(ALG.SHA256)
    assert pqc.run(CC.START_AUTH_SESSION, [key, RH.NULL], params).rc == RC.VALUE | P2


def test_who_can_open_a_salt(pqc: Tester) -> None:
    params = sized(bytes(16)) + sized(bytes(1088)) + bytes((SE.HMAC,)) + NONE + words(ALG.SHA256)
    public = areas.loaded_external(pqc, kem_areas()[0])
    assert pqc.run(CC.START_AUTH_SESSION, [public, RH.NULL], params).rc == RC.HANDLE | H1
    signing = areas.loaded_external(pqc, *mldsa_areas())
    assert pqc.run(CC.START_AUTH_SESSION, [signing, RH.NULL], params).rc == RC.KEY | H1


# Credentials


def activate(tester: Tester, target: int, key: int, blob: bytes, secret: bytes) -> Result:
    parameters = sized(blob) + sized(secret)
    auths = [Password(), Password()]
    return tester.run(CC.ACTIVATE_CREDENTIAL, [target, key], parameters, auths)


@every_kind
def test_credentials_made_outside(
    pqc: Tester, parms: int, alg: int, symmetric: bytes, bits: int
) -> None:
    key, public = created(pqc, storage(parms, alg, symmetric))
    target = areas.loaded_primary(pqc, areas.mldsa(OWN | SIGN | NO_DA))
    seed, secret = share(parms, alg, b"IDENTITY", public)
    blob = protect(alg, seed, pqc.name(target), sized(b"credential"), bits=bits)
    answer = activate(pqc, target, key, blob, secret)
    assert (answer.rc, answer.sized()) == (0, b"credential")
    assert activate(pqc, key, key, blob, secret).rc == RC.INTEGRITY | 0x140
    assert activate(pqc, target, key, blob, secret[:-1]).rc == RC.SIZE | P2
    changed = bytes((secret[0] ^ 1,)) + secret[1:]
    assert activate(pqc, target, key, blob, changed).rc == RC.INTEGRITY | 0x140


@every_kind
def test_credentials_made_by_the_tpm(
    pqc: Tester, parms: int, alg: int, symmetric: bytes, bits: int
) -> None:
    public, _ = kem_areas(STORAGE, parms, symmetric=symmetric, alg=alg)
    key = areas.loaded_external(pqc, public)
    name = words(ALG.SHA256) + bytes(32)
    made = pqc.run(CC.MAKE_CREDENTIAL, [key], sized(b"credential") + sized(name))
    assert made.rc == 0, hex(made.rc)
    seed = opened(parms, alg, b"IDENTITY", made.sized(1))
    plain = unprotect(alg, seed, name, made.sized(0), bits=bits)
    assert plain == sized(b"credential")


def test_which_keys_credentials_are_for(pqc: Tester) -> None:
    """Restricted decryption keys: others have no symmetric algorithm."""
    key = areas.loaded_external(pqc, kem_areas()[0])
    params = sized(b"c") + sized(words(ALG.SHA256) + bytes(32))
    assert pqc.run(CC.MAKE_CREDENTIAL, [key], params).rc == RC.TYPE | H1


# Duplicates

OBJECTS = {
    "data": objects_made.keyedhash(USER_AUTH | NO_DA, b"sealed", policy=POLICY),
    "MLKEM": objects_made.Made(
        areas.mlkem(USER_AUTH | DECRYPT | NO_DA, policy=POLICY, unique=kem_public()),
        areas.sensitive(ALG.MLKEM, KEM_SEED),
    ),
    "MLDSA": objects_made.Made(
        areas.mldsa(USER_AUTH | SIGN | NO_DA, policy=POLICY, unique=mldsa_areas()[0][-1312:]),
        areas.sensitive(ALG.MLDSA, bytes(range(32))),
    ),
}


@every_kind
@pytest.mark.parametrize("made", OBJECTS.values(), ids=OBJECTS.keys())
def test_import_below_an_mlkem_key(
    pqc: Tester,
    parms: int,
    alg: int,
    symmetric: bytes,
    bits: int,
    made: objects_made.Made,
) -> None:
    """Part 1, 20.3: the outer wrapper is under the seed labelled DUPLICATE."""
    parent, public = created(pqc, storage(parms, alg, symmetric))
    seed, secret = share(parms, alg, b"DUPLICATE", public)
    name = areas.name_of(made.public)
    blob = protect(alg, seed, name, sized(made.sensitive), bits=bits)
    imported = areas.import_object(pqc, parent, made.public, blob, secret=secret)
    assert imported.rc == 0, hex(imported.rc)
    loaded = areas.load(pqc, parent, imported.sized(), made.public)
    assert loaded.rc == 0, hex(loaded.rc)
    assert loaded.sized() == name
    short = areas.import_object(pqc, parent, made.public, blob, secret=secret[:-1])
    assert short.rc == RC.SIZE | 0x440


def policy_session(tester: Tester) -> Session:
    session = tester.start_session(SE.POLICY)
    params = CC.DUPLICATE.to_bytes(4)
    assert tester.run(CC.POLICY_COMMAND_CODE, [session.handle], params).rc == 0
    session.attributes = 0
    return session


@every_kind
@pytest.mark.parametrize("made", OBJECTS.values(), ids=OBJECTS.keys())
def test_duplicate_to_an_mlkem_key(
    pqc: Tester,
    parms: int,
    alg: int,
    symmetric: bytes,
    bits: int,
    made: objects_made.Made,
) -> None:
    primary = areas.loaded_primary(pqc, areas.storage())
    imported = areas.import_object(pqc, primary, made.public, sized(made.sensitive))
    assert imported.rc == 0, hex(imported.rc)
    handle = areas.load(pqc, primary, imported.sized(), made.public).handle
    assert handle is not None
    areas.flush(pqc, primary)
    pqc.names.clear()
    parent = areas.loaded_external(pqc, kem_areas(STORAGE, parms, symmetric=symmetric, alg=alg)[0])
    answer = pqc.run(CC.DUPLICATE, [handle, parent], sized(b"") + NONE, [policy_session(pqc)])
    assert answer.rc == 0, hex(answer.rc)
    seed = opened(parms, alg, b"DUPLICATE", answer.sized(2))
    name = areas.name_of(made.public)
    plain = unprotect(alg, seed, name, answer.sized(1), bits=bits)
    padded = made.sensitive.replace(sized(b""), sized(bytes(32)), 1)
    assert plain == sized(padded)
    signing = areas.loaded_external(pqc, mldsa_areas()[0])
    session = policy_session(pqc)
    refused = pqc.run(CC.DUPLICATE, [handle, signing], sized(b"") + NONE, [session])
    assert refused.rc == RC.TYPE | H2


def test_rewrap_from_mlkem_to_mlkem(pqc: Tester) -> None:
    made = OBJECTS["MLDSA"]
    name = areas.name_of(made.public)
    parms, alg = MLKEM_PARMS.MLKEM_768, ALG.SHA256
    old, public = created(pqc, storage(parms, alg, AES_128_CFB))
    new = areas.loaded_external(pqc, kem_areas(STORAGE, symmetric=AES_128_CFB)[0])
    seed, secret = share(parms, alg, b"DUPLICATE", public)
    blob = protect(alg, seed, name, sized(made.sensitive))
    params = sized(blob) + sized(name) + sized(secret)
    answer = pqc.run(CC.REWRAP, [old, new], params, [Password()])
    assert answer.rc == 0, hex(answer.rc)
    seed = opened(parms, alg, b"DUPLICATE", answer.sized(1))
    assert unprotect(alg, seed, name, answer.sized(0)) == sized(made.sensitive)
    wrong = sized(blob) + sized(name) + sized(secret[:-1])
    assert pqc.run(CC.REWRAP, [old, new], wrong, [Password()]).rc == RC.VALUE | 0x340


# Parents


@every_kind
def test_an_mlkem_key_is_a_storage_parent(
    pqc: Tester, parms: int, alg: int, symmetric: bytes, bits: int
) -> None:
    parent = areas.loaded_primary(pqc, storage(parms, alg, symmetric))
    templates = {
        "sealed": areas.keyedhash(FIXED | USER_AUTH | NO_DA),
        "MLKEM": areas.mlkem(OWN | DECRYPT | NO_DA),
        "MLDSA": areas.mldsa(OWN | SIGN | NO_DA, parms=MLDSA_PARMS.MLDSA_65),
        "storage": areas.mlkem(OWN | STORAGE | NO_DA, alg=alg, symmetric=symmetric, parms=parms),
    }
    for name, template in templates.items():
        data = b"data" if name == "sealed" else b""
        child = areas.loaded_child(pqc, parent, template, data=data)
        if name == "sealed":
            assert pqc.run(CC.UNSEAL, [child], auths=[Password()]).sized() == b"data"
        areas.flush(pqc, child)


def test_a_fixed_child_has_the_algorithms_of_its_parent(pqc: Tester) -> None:
    """Part 1, 24.2.6."""
    parent = areas.loaded_primary(pqc, storage(MLKEM_PARMS.MLKEM_768, ALG.SHA256, AES_128_CFB))
    other = storage(MLKEM_PARMS.MLKEM_768, ALG.SHA256, AES_256_CFB)
    assert areas.create(pqc, parent, other).rc == RC.SYMMETRIC | 0x240
    named = storage(MLKEM_PARMS.MLKEM_768, ALG.SHA384, AES_128_CFB)
    assert areas.create(pqc, parent, named).rc == RC.HASH | 0x240
    movable = storage(MLKEM_PARMS.MLKEM_768, ALG.SHA384, AES_256_CFB, MOVABLE)
    assert areas.create(pqc, parent, movable).rc == 0


@pytest.mark.parametrize("name", ["MLKEM", "MLDSA"])
@pytest.mark.parametrize("attributes", [OWN, MOVABLE], ids=["fixed parent", "movable parent"])
def test_a_public_key_that_is_not_of_the_seed(pqc: Tester, name: str, attributes: int) -> None:
    """Part 1, 26.2: checked by Import, or by each Load below a parent that may be elsewhere."""
    parent = areas.loaded_primary(
        pqc, storage(MLKEM_PARMS.MLKEM_768, ALG.SHA256, AES_128_CFB, attributes)
    )
    made = OBJECTS[name]
    other = made.sensitive[:8] + bytes((made.sensitive[8] ^ 1,)) + made.sensitive[9:]
    imported = areas.import_object(pqc, parent, made.public, sized(other))
    if attributes == OWN:
        assert imported.rc == RC.BINDING
        return
    assert imported.rc == 0
    assert areas.load(pqc, parent, imported.sized(), made.public).rc == RC.BINDING
    good = areas.import_object(pqc, parent, made.public, sized(made.sensitive))
    assert areas.load(pqc, parent, good.sized(), made.public).rc == 0

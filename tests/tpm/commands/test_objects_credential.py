"""Credentials: made by anybody, opened only by the TPM that has key and object (12.5 and 12.6)."""

import pytest

from tests.tpm import areas, objects_made
from tests.tpm.areas import DECRYPT, NO_DA, OWN, SIGN, STORAGE, USER_AUTH
from tests.tpm.harness import Password, Result, Tester, sized
from tests.tpm.wrapping import StorageKey, install, protect, share_with, unprotect
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.constants import ALG, CC, RH

IDENTITY = b"IDENTITY"
KEYS = {
    "RSA": areas.rsa(OWN | STORAGE | NO_DA, symmetric=areas.AES_128_CFB),
    "P-256": areas.storage(),
    "RSA, SHA-384": areas.rsa(
        OWN | STORAGE | NO_DA, alg=ALG.SHA384, symmetric=areas.words(ALG.AES, 256, ALG.CFB)
    ),
}


def make(tester: Tester, key: int, credential: bytes, name: bytes) -> Result:
    """TPM2_MakeCredential."""
    return tester.run(CC.MAKE_CREDENTIAL, [key], sized(credential) + sized(name))


def activate(tester: Tester, target: int, key: int, blob: bytes, secret: bytes) -> Result:
    """TPM2_ActivateCredential with empty authValues."""
    parameters = sized(blob) + sized(secret)
    auths = [Password(), Password()]
    return tester.run(CC.ACTIVATE_CREDENTIAL, [target, key], parameters, auths)


@pytest.fixture
def target(testers: tuple[Tester, Tester]) -> int:
    """The object that credentials are for, the same in both."""
    handles = {areas.loaded_primary(tester, areas.ecc(OWN | SIGN | NO_DA)) for tester in testers}
    return handles.pop()


@pytest.mark.parametrize("template", KEYS.values(), ids=KEYS.keys())
def test_each_opens_what_the_other_has_made(
    testers: tuple[Tester, Tester], target: int, template: bytes
) -> None:
    key, _ = (areas.loaded_primary(tester, template) for tester in testers)
    for maker, opener in (testers, testers[::-1]):
        made = make(maker, key, b"credential", opener.name(target))
        assert made.rc == 0
        opened = activate(opener, target, key, made.sized(0), made.sized(1))
        assert (opened.rc, opened.sized()) == (0, b"credential")


@pytest.mark.parametrize("template", KEYS.values(), ids=KEYS.keys())
def test_a_credential_made_outside(
    testers: tuple[Tester, Tester], target: int, template: bytes
) -> None:
    for tester in testers:
        created = areas.create_primary(tester, template)
        public, key = created.sized(0), created.handle
        assert key is not None
        alg = int.from_bytes(public[2:4])
        bits = 256 if alg == ALG.SHA384 else 128
        name = tester.name(target)
        seed, secret = share_with(public, IDENTITY)
        blob = protect(alg, seed, name, sized(b"outside"), bits=bits)
        assert activate(tester, target, key, blob, secret).sized() == b"outside"
        for place in (2, 40, len(blob) - 1):
            damaged = blob[:place] + bytes((blob[place] ^ 1,)) + blob[place + 1 :]
            assert activate(tester, target, key, damaged, secret).rc == RC.INTEGRITY | 0x1C0
        assert activate(tester, key, key, blob, secret).rc == RC.INTEGRITY | 0x1C0
        extra = protect(alg, seed, name, sized(b"outside") + b"\0", bits=bits)
        assert activate(tester, target, key, extra, secret).rc == RC.SIZE | 0x1C0
        short = protect(alg, seed, name, b"\0\x07outsid", bits=bits)
        assert activate(tester, target, key, short, secret).rc == RC.INSUFFICIENT | 0x1C0


@pytest.mark.parametrize("template", KEYS.values(), ids=KEYS.keys())
def test_wrong_secrets(testers: tuple[Tester, Tester], target: int, template: bytes) -> None:
    key, _ = (areas.loaded_primary(tester, template) for tester in testers)
    made = make(testers[0], key, b"credential", testers[0].name(target))
    blob, secret = made.sized(0), made.sized(1)
    secrets = (
        *(b"", secret[:-1], secret + b"\0", secret[:40], b"\0\x20" + bytes(32) + b"\0\x20"),
        *(bytes(68), bytes(256), b"\xff" * 256, secret[:3] + b"\0" * 60 + secret[63:]),
        share_with(testers[0].run(CC.READ_PUBLIC, [key]).sized(), b"DUPLICATE")[1],
    )
    for wrong in secrets:
        engine, swtpm = (activate(tester, target, key, blob, wrong) for tester in testers)
        if swtpm.rc == RC.FAILURE:
            # OpenSSL's refusal in libtpms; Part 3, 12.5 and 14.3 ask for RC.VALUE.
            assert engine.rc == RC.VALUE | 0x2C0
        else:
            assert engine == swtpm, wrong.hex()
    assert activate(testers[0], target, key, blob, b"").rc != 0


def test_what_make_credential_gives(tester: Tester) -> None:
    key = StorageKey(USER_AUTH | NO_DA)
    handle = install(tester, key)
    made = make(tester, handle, b"credential", b"any name")
    seed = key.open_seed(made.sized(1), IDENTITY)
    assert unprotect(ALG.SHA256, seed, b"any name", made.sized(0)) == sized(b"credential")
    other = make(tester, handle, b"credential", b"any name")
    assert other.sized(0) != made.sized(0)


def test_a_public_area_is_enough_to_make_one(both: tuple[Tester, Tester]) -> None:
    key = StorageKey(USER_AUTH | NO_DA)
    for tester in both:
        handle = areas.load_external(tester, key.public).handle
        assert handle is not None
        made = make(tester, handle, b"credential", b"any name")
        seed = key.open_seed(made.sized(1), IDENTITY)
        assert unprotect(ALG.SHA256, seed, b"any name", made.sized(0)) == sized(b"credential")


def test_the_key_has_to_be_a_storage_key(both: tuple[Tester, Tester]) -> None:
    for tester in both:
        target = areas.loaded_primary(tester, areas.storage())
        for template in (
            areas.ecc(OWN | DECRYPT),
            areas.symcipher(OWN | STORAGE),
            areas.ecc(OWN | SIGN),
        ):
            key = areas.loaded_primary(tester, template)
            assert make(tester, key, b"credential", b"name").rc == RC.TYPE | 0x100
            assert activate(tester, target, key, b"blob", b"secret").rc == RC.TYPE | 0x200
            areas.flush(tester, key)
        assert make(tester, target, bytes(33), b"name").rc == RC.SIZE | 0x1C0


@pytest.mark.parametrize("kind", ["RSA", "ECC"])
def test_nothing_is_made_for_a_key_without_name_alg(both: tuple[Tester, Tester], kind: str) -> None:
    """Its HMAC would have no hash. libtpms shares an empty seed with an ECC key."""
    made = objects_made.rsa_key if kind == "RSA" else objects_made.ecc_key
    public = made(areas.ORIGIN | STORAGE).public
    nameless = public[:2] + areas.words(ALG.NULL) + public[4:]
    rewrap = sized(b"duplicate") + sized(b"name") + sized(b"")
    for tester in both:
        handle = areas.load_external(tester, nameless).handle
        assert handle is not None
        assert make(tester, handle, b"c", b"name").rc == RC.SIZE | 0x1C0
        if kind == "RSA" or tester is both[0]:
            assert make(tester, handle, b"", b"name").rc == RC.VALUE
            tester.names[handle] = b""
            handles = [int(RH.NULL), handle]
            assert tester.run(CC.REWRAP, handles, rewrap, [Password()]).rc == RC.VALUE

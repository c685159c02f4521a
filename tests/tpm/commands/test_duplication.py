"""Duplicating objects: wrappers in, wrappers out, and every reason to refuse (chapter 13)."""

from random import Random

import pytest

from tests.tpm import areas, objects_made
from tests.tpm.areas import (
    DECRYPT,
    ENCRYPTED_DUPLICATION,
    FIXED_PARENT,
    MOVABLE,
    NO_DA,
    NONE,
    OWN,
    SIGN,
    STORAGE,
    USER_AUTH,
    words,
)
from tests.tpm.harness import Password, Result, Session, Tester, digest, sized
from tests.tpm.wrapping import (
    StorageKey,
    inner_unwrap,
    inner_wrap,
    install,
    protect,
    share_with,
    unprotect,
)
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.constants import ALG, CC, RH, SE

DUPLICATE = b"DUPLICATE"
COMMAND_CODE = CC.DUPLICATE.to_bytes(4)
POLICY = digest(ALG.SHA256, bytes(32), CC.POLICY_COMMAND_CODE.to_bytes(4), COMMAND_CODE)
AES_128 = words(ALG.AES, 128, ALG.CFB)
AES_256 = words(ALG.AES, 256, ALG.CTR)  # the mode makes no difference
SEALED = areas.keyedhash(USER_AUTH | NO_DA, policy=POLICY)


def policy_session(tester: Tester) -> Session:
    """A policy session that allows to duplicate."""
    session = tester.start_session(SE.POLICY)
    assert tester.run(CC.POLICY_COMMAND_CODE, [session.handle], COMMAND_CODE).rc == 0
    session.attributes = 0
    return session


def duplicate(
    tester: Tester, handle: int, parent: int, *, key: bytes = b"", symmetric: bytes = NONE
) -> Result:
    """TPM2_Duplicate; a session that has failed is flushed."""
    session = policy_session(tester)
    answer = tester.run(CC.DUPLICATE, [handle, parent], sized(key) + symmetric, [session])
    if answer.rc:
        areas.flush(tester, session.handle)
    return answer


@pytest.fixture
def movable(both: tuple[Tester, Tester]) -> dict[int, tuple[bytes, bytes]]:
    """Handle of a movable sealed object to its public area and secrets; in both."""
    made = objects_made.keyedhash(USER_AUTH | NO_DA, b"sealed", auth=b"auth", policy=POLICY)
    found = {}
    for tester in both:
        parent = areas.loaded_primary(tester, areas.storage())
        imported = areas.import_object(tester, parent, made.public, sized(made.sensitive))
        assert imported.rc == 0
        loaded = areas.load(tester, parent, imported.sized(), made.public)
        assert loaded.handle is not None
        areas.flush(tester, parent)
        found[loaded.handle] = made.public, made.sensitive
    return found


def padded(sensitive: bytes) -> bytes:
    """A TPMT_SENSITIVE whose authValue "auth" is as long as a SHA-256 digest."""
    return sensitive.replace(sized(b"auth"), sized(b"auth".ljust(32, b"\0")), 1)


@pytest.mark.parametrize("outer", [False, True])
@pytest.mark.parametrize("inner", [NONE, AES_128, AES_256])
@pytest.mark.parametrize("given", [False, True])
def test_duplicates_are_wrapped_as_part_1_says(
    both: tuple[Tester, Tester],
    movable: dict[int, tuple[bytes, bytes]],
    outer: bool,
    inner: bytes,
    given: bool,
) -> None:
    if inner == NONE and given:
        return
    ((handle, (public, sensitive)),) = movable.items()
    new_parent = StorageKey(USER_AUTH)
    size = int.from_bytes(inner[2:4]) // 8
    key = bytes(range(size)) if given else b""
    name = areas.name_of(public)
    for tester in both:
        parent: int = RH.NULL
        if outer:
            loaded = areas.load_external(tester, new_parent.public)
            assert loaded.handle is not None
            parent = loaded.handle
        answer = duplicate(tester, handle, parent, key=key, symmetric=inner)
        assert answer.rc == 0, hex(answer.rc)
        key_out, blob, secret = (answer.sized(number) for number in range(3))
        assert len(key_out) == (0 if given else size)
        if outer:
            seed = new_parent.open_seed(secret, DUPLICATE)
            blob = unprotect(ALG.SHA256, seed, name, blob)
        else:
            assert secret == b""
        if inner != NONE:
            blob = inner_unwrap(ALG.SHA256, key or key_out, name, blob)
        assert blob == sized(padded(sensitive))


@pytest.mark.parametrize("outer", [False, True])
@pytest.mark.parametrize("inner", [NONE, AES_128, AES_256])
@pytest.mark.parametrize(
    "parent_template",
    [areas.storage(), areas.rsa(OWN | STORAGE | NO_DA, symmetric=areas.AES_128_CFB)],
    ids=["ECC", "RSA"],
)
def test_duplicates_made_outside_are_imported(
    both: tuple[Tester, Tester], outer: bool, inner: bytes, parent_template: bytes
) -> None:
    made = objects_made.keyedhash(USER_AUTH | NO_DA, b"outside", auth=b"auth")
    name = areas.name_of(made.public)
    key = bytes(range(int.from_bytes(inner[2:4]) // 8))
    for tester in both:
        created = areas.create_primary(tester, parent_template)
        parent = created.handle
        assert parent is not None
        blob, secret = sized(made.sensitive), b""
        if inner != NONE:
            blob = inner_wrap(ALG.SHA256, key, name, blob)
        if outer:
            seed, secret = share_with(created.sized(0), DUPLICATE)
            blob = protect(ALG.SHA256, seed, name, blob)
        imported = areas.import_object(
            tester, parent, made.public, blob, key=key, secret=secret, symmetric=inner
        )
        assert imported.rc == 0, hex(imported.rc)
        loaded = areas.load(tester, parent, imported.sized(), made.public)
        assert loaded.handle is not None
        answer = tester.run(CC.UNSEAL, [loaded.handle], auths=[Password(b"auth")])
        assert answer.sized() == b"outside"


def test_each_imports_what_the_other_duplicates(
    both: tuple[Tester, Tester], movable: dict[int, tuple[bytes, bytes]]
) -> None:
    ((handle, (public, _)),) = movable.items()
    for source, destination in (both, both[::-1]):
        created = areas.create_primary(destination, areas.storage())
        parent = created.handle
        assert parent is not None
        remote = areas.load_external(source, created.sized(0)).handle
        assert remote is not None
        answer = duplicate(source, handle, remote, symmetric=AES_128)
        key, blob, secret = (answer.sized(number) for number in range(3))
        imported = areas.import_object(
            destination, parent, public, blob, key=key, secret=secret, symmetric=AES_128
        )
        assert imported.rc == 0, hex(imported.rc)
        loaded = areas.load(destination, parent, imported.sized(), public)
        assert loaded.handle is not None
        unsealed = destination.run(CC.UNSEAL, [loaded.handle], auths=[Password(b"auth")])
        assert unsealed.sized() == b"sealed"
        areas.flush(source, remote)
        areas.flush(destination, parent, loaded.handle)


def rewrap(tester: Tester, old: int, new: int, blob: bytes, name: bytes, secret: bytes) -> Result:
    """TPM2_Rewrap."""
    parameters = sized(blob) + sized(name) + sized(secret)
    return tester.run(CC.REWRAP, [old, new], parameters, [Password()])


def test_rewrapping(both: tuple[Tester, Tester]) -> None:
    name, plain = b"some name", b"anything at all"
    new_parent = StorageKey(USER_AUTH)
    for tester in both:
        created = areas.create_primary(tester, areas.storage())
        old = created.handle
        new = areas.load_external(tester, new_parent.public).handle
        assert old is not None
        assert new is not None
        seed, secret = share_with(created.sized(0), DUPLICATE)
        blob = protect(ALG.SHA256, seed, name, plain)
        answer = rewrap(tester, old, new, blob, name, secret)
        assert answer.rc == 0
        seed = new_parent.open_seed(answer.sized(1), DUPLICATE)
        assert unprotect(ALG.SHA256, seed, name, answer.sized(0)) == plain
        unwrapped = rewrap(tester, old, RH.NULL, blob, name, secret)
        assert unwrapped.parameters == sized(plain) + sized(b"")
        wrapped = rewrap(tester, RH.NULL, new, plain, name, b"")
        seed = new_parent.open_seed(wrapped.sized(1), DUPLICATE)
        assert unprotect(ALG.SHA256, seed, name, wrapped.sized(0)) == plain
        copied = rewrap(tester, RH.NULL, RH.NULL, plain, name, b"")
        assert copied.parameters == sized(plain) + sized(b"")
        # Faults.
        assert rewrap(tester, old, new, blob, name, b"").rc == RC.HANDLE | 0x100
        assert rewrap(tester, RH.NULL, new, blob, name, secret).rc == RC.HANDLE | 0x100
        assert rewrap(tester, old, new, blob, name, secret[:-1]).rc == RC.VALUE | 0x3C0
        assert rewrap(tester, old, new, blob, b"other", secret).rc == RC.INTEGRITY | 0x1C0
        assert rewrap(tester, old, new, b"\0", name, secret).rc == RC.INSUFFICIENT | 0x1C0
        signer = areas.loaded_primary(tester, areas.ecc(OWN | SIGN | NO_DA))
        assert rewrap(tester, signer, new, blob, name, secret).rc == RC.TYPE | 0x100
        assert rewrap(tester, old, signer, blob, name, secret).rc == RC.TYPE | 0x200


def test_what_may_not_be_duplicated(both: tuple[Tester, Tester]) -> None:
    for tester in both:
        root = areas.loaded_primary(tester, areas.storage())
        fixed = areas.loaded_child(
            tester, root, areas.keyedhash(areas.FIXED | USER_AUTH, policy=POLICY), data=b"d"
        )
        assert duplicate(tester, fixed, root).rc == RC.ATTRIBUTES | 0x100
        areas.flush(tester, fixed)
        template = areas.keyedhash(USER_AUTH | ENCRYPTED_DUPLICATION, policy=POLICY)
        careful = areas.loaded_child(tester, root, template, data=b"d")
        assert duplicate(tester, careful, root).rc == RC.SYMMETRIC | 0x2C0
        answer = duplicate(tester, careful, RH.NULL, symmetric=AES_128)
        assert answer.rc == RC.HIERARCHY | 0x200
        assert duplicate(tester, careful, RH.NULL).rc == RC.SYMMETRIC | 0x2C0
        assert duplicate(tester, careful, root, symmetric=AES_128).rc == 0
        areas.flush(tester, careful)
        free = areas.loaded_child(tester, root, SEALED, data=b"d")
        assert duplicate(tester, free, root, key=b"k").rc == RC.SIZE | 0x1C0
        short = duplicate(tester, free, root, key=bytes(15), symmetric=AES_128)
        assert short.rc == RC.SIZE | 0x1C0
        signer = areas.loaded_primary(tester, areas.ecc(OWN | SIGN))
        assert duplicate(tester, free, signer).rc == RC.TYPE | 0x200
        areas.flush(tester, signer)
        symmetric = areas.loaded_primary(tester, areas.symcipher(OWN | STORAGE))
        assert duplicate(tester, free, symmetric).rc == RC.TYPE | 0x200
        assert duplicate(tester, free, free).rc == RC.TYPE | 0x200


def test_duplication_needs_a_policy_for_it(both: tuple[Tester, Tester]) -> None:
    for tester in both:
        root = areas.loaded_primary(tester, areas.storage())
        free = areas.loaded_child(tester, root, SEALED, data=b"d")
        parameters = sized(b"") + NONE
        handles = [free, int(RH.NULL)]
        answer = tester.run(CC.DUPLICATE, handles, parameters, [Password()])
        assert answer.rc == RC.AUTH_TYPE
        session = tester.start_session(SE.POLICY)
        answer = tester.run(CC.DUPLICATE, handles, parameters, [session])
        assert answer.rc == RC.POLICY_FAIL | 0x900


def _imports(random: Random, name: bytes, plain: bytes, parent: bytes) -> dict[str, bytes]:
    """A duplicate of `plain`, with a fault somewhere now and then."""
    inner = random.choice((NONE, AES_128, AES_256))
    key = bytes(range(int.from_bytes(inner[2:4]) // 8))
    blob, secret = plain, b""
    if inner != NONE and random.random() < 0.9:
        blob = inner_wrap(ALG.SHA256, key, name, blob)
    if random.random() < 0.6:
        seed, secret = share_with(parent, DUPLICATE)
        blob = protect(ALG.SHA256, seed, name, blob)
        if random.random() < 0.1:
            secret = secret[: random.randrange(len(secret))]
    if random.random() < 0.1:
        key = key[1:] + b"key"
    if random.random() < 0.2 and blob:
        place = random.randrange(len(blob))
        blob = blob[:place] + bytes((blob[place] ^ 1 << random.randrange(8),)) + blob[place + 1 :]
    if random.random() < 0.05:
        blob = blob[: random.randrange(len(blob) + 1)]
    return {"duplicate": blob, "key": key, "secret": secret, "symmetric": inner}


@pytest.mark.parametrize("attributes", [OWN, MOVABLE])
def test_every_fault_has_the_code_of_libtpms(both: tuple[Tester, Tester], attributes: int) -> None:
    """Below a fixedTPM parent and one that is not: the latter takes what Load will refuse."""
    random = Random(185)
    key = StorageKey(USER_AUTH | NO_DA)
    parents, public = {}, key.public
    for tester in both:
        if attributes == MOVABLE:
            parents[tester.peer] = install(tester, key), public
        else:
            created = areas.create_primary(tester, areas.storage())
            assert created.handle is not None
            parents[tester.peer] = created.handle, created.sized(0)
    # libtpms 0.9.2 dies of an authValue that is too long below a parent that is not fixedTPM.
    longest = 33 if attributes == OWN else 32
    codes, differences = set(), []
    for _ in range(1000):
        flags = random.choice((USER_AUTH, USER_AUTH, ENCRYPTED_DUPLICATION, FIXED_PARENT))
        made = random.choice(
            (
                objects_made.rsa_key(areas.ORIGIN | flags | random.choice((SIGN, DECRYPT, 0))),
                objects_made.ecc_key(
                    areas.ORIGIN | flags | STORAGE, seed=bytes(random.choice((0, 16, 32, 33)))
                ),
                objects_made.symcipher(flags | DECRYPT, bytes(16)),
                objects_made.keyedhash(flags, b"data", auth=b"x" * random.choice((0, 32, longest))),
            )
        )
        plain = sized(made.sensitive)
        if random.random() < 0.15:
            place = random.randrange(len(plain))
            plain = plain[:place] + bytes((plain[place] ^ 1,)) + plain[place + 1 :]
        if random.random() < 0.05:
            plain = plain[: random.randrange(len(plain))]
        name, state = areas.name_of(made.public), random.getstate()
        rcs = []
        for tester in both:
            random.setstate(state)
            handle, parent_public = parents[tester.peer]
            wrapped = _imports(random, name, plain, parent_public)
            rcs.append(areas.import_object(tester, handle, made.public, **wrapped).rc)
        codes.add(rcs[0])
        if rcs[0] != rcs[1]:
            differences.append(([hex(rc) for rc in rcs], made.public.hex(), plain.hex(), wrapped))
    assert differences == []
    assert len(codes) > 8


def test_what_import_does_not_check_load_does(tester: Tester) -> None:
    """A parent that can be anywhere vouches for nothing."""
    parent = install(tester, StorageKey(USER_AUTH | NO_DA))
    for made, code in (
        (objects_made.keyedhash(USER_AUTH, b"data", auth=b"x" * 33), RC.SIZE | 0x1C0),
        (objects_made.keyedhash(USER_AUTH, b"data", seed=bytes(33)), RC.KEY_SIZE | 0x1C0),
        (objects_made.ecc_key(USER_AUTH), RC.ATTRIBUTES | 0x2C0),
    ):
        imported = areas.import_object(tester, parent, made.public, sized(made.sensitive))
        assert imported.rc == 0
        assert areas.load(tester, parent, imported.sized(), made.public).rc == code


def test_a_symmetric_parent_takes_no_outer_wrapper(both: tuple[Tester, Tester]) -> None:
    made = objects_made.keyedhash(USER_AUTH, b"data")
    for tester in both:
        parent = areas.loaded_primary(tester, areas.symcipher(OWN | STORAGE | NO_DA))
        plain = sized(made.sensitive)
        answer = areas.import_object(tester, parent, made.public, plain, secret=b"secret")
        assert answer.rc == RC.TYPE | 0x100
        imported = areas.import_object(tester, parent, made.public, plain)
        assert imported.rc == 0
        assert areas.load(tester, parent, imported.sized(), made.public).rc == 0

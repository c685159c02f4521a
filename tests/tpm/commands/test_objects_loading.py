"""TPM2_Load, and what a TPM2B_PRIVATE is (12.1, 12.2 and 12.8)."""

from random import Random

import pytest

from tests.differential.differences import is_newer
from tests.tpm import areas, objects_made
from tests.tpm.areas import (
    DECRYPT,
    ENCRYPTED_DUPLICATION,
    FIXED,
    FIXED_PARENT,
    MOVABLE,
    NO_DA,
    OWN,
    RESTRICTED,
    SIGN,
    STORAGE,
    USER_AUTH,
    words,
)
from tests.tpm.harness import Password, Tester, digest, sized
from tests.tpm.objects_made import Made
from tests.tpm.wrapping import StorageKey, install
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.constants import ALG, CC, RH

CHILDREN = {
    "RSA storage": areas.rsa(OWN | STORAGE, symmetric=areas.AES_128_CFB),
    "RSA signing": areas.rsa(OWN | SIGN),
    "ECC storage": areas.storage(),
    "ECC movable signing": areas.ecc(MOVABLE | SIGN),
    "AES": areas.symcipher(OWN | DECRYPT),
    "HMAC": areas.keyedhash(OWN | SIGN, scheme=words(ALG.HMAC, ALG.SHA256)),
    "sealed": areas.sealed(),
}


@pytest.mark.parametrize("template", CHILDREN.values(), ids=CHILDREN.keys())
def test_each_loads_what_the_other_has_created(
    testers: tuple[Tester, Tester], template: bytes
) -> None:
    data = b"data" if template[:2] == words(ALG.KEYEDHASH) and template == areas.sealed() else b""
    parent, _ = (areas.loaded_primary(tester, areas.storage()) for tester in testers)
    for creator, loader in (testers, testers[::-1]):
        created = areas.create(creator, parent, template, auth=b"auth", data=data)
        assert created.rc == 0
        private, public = created.sized(0), created.sized(1)
        here, there = (areas.load(tester, parent, private, public) for tester in (creator, loader))
        assert here == there
        assert here.handle == 0x80000001
        assert here.sized() == areas.name_of(public)
        read = [tester.run(CC.READ_PUBLIC, [0x80000001]) for tester in testers]
        assert read[0] == read[1]
        for tester in testers:
            areas.flush(tester, 0x80000001)


def test_creation_data_and_ticket_of_a_child(testers: tuple[Tester, Tester]) -> None:
    parent, _ = (areas.loaded_primary(tester, areas.storage()) for tester in testers)
    created = areas.create(testers[0], parent, areas.storage())
    qualified = testers[1].run(CC.READ_PUBLIC, [parent]).sized(2)
    data = created.sized(2)
    assert data.endswith(
        words(ALG.SHA256) + sized(testers[1].name(parent)) + sized(qualified) + sized(b"")
    )
    public, creation_hash = created.sized(1), created.sized(3)
    assert creation_hash == digest(ALG.SHA256, data)
    # swtpm accepts the ticket: TPM2_CertifyCreation with no signing key.
    private = created.sized(0)
    child = areas.load(testers[1], parent, private, public).handle
    assert child is not None
    start = sum(2 + len(created.sized(number)) for number in range(4))
    parameters = sized(b"") + sized(creation_hash) + words(ALG.NULL) + created.parameters[start:]
    handles = [int(RH.NULL), child]
    assert testers[1].run(CC.CERTIFY_CREATION, handles, parameters, [Password()]).rc == 0


def test_private_areas_are_wrapped_as_part_1_says(tester: Tester) -> None:
    key = StorageKey(USER_AUTH | NO_DA)
    parent = install(tester, key)
    created = areas.create(tester, parent, areas.keyedhash(USER_AUTH), auth=b"au", data=b"seal")
    assert created.rc == 0
    private, public = created.sized(0), created.sized(1)
    plain = key.unwrap(public, private)
    seed = plain[38:70]
    assert plain == areas.sensitive(ALG.KEYEDHASH, b"seal", auth=b"au".ljust(32, b"\0"), seed=seed)
    assert public.endswith(sized(digest(ALG.SHA256, seed, b"seal")))


def parts(private: bytes) -> tuple[bytes, bytes]:
    """(IV, encrypted sensitive area) of a TPM2B_PRIVATE under SHA-256 and AES."""
    size = int.from_bytes(private[:2])
    assert private[2 + size : 4 + size] == words(16)
    return private[4 + size : 20 + size], private[20 + size :]


def test_no_two_wrappings_have_a_key_stream_in_common(both: tuple[Tester, Tester]) -> None:
    """The key depends on the Name only: what keeps them apart is the IV, which has to be random."""
    key = StorageKey(USER_AUTH | NO_DA)
    made = objects_made.keyedhash(USER_AUTH | NO_DA, b"sealed", auth=b"auth")
    for tester in both:
        parent = install(tester, key)
        privates = []
        for _ in range(3):
            imported = areas.import_object(tester, parent, made.public, sized(made.sensitive))
            assert imported.rc == 0
            privates.append(imported.sized())
        handle = areas.load(tester, parent, privates[0], made.public).handle
        assert handle is not None
        for _ in range(2):
            changed = tester.run(
                CC.OBJECT_CHANGE_AUTH, [handle, parent], sized(b"auth"), [Password(b"auth")]
            )
            assert changed.rc == 0
            privates.append(changed.sized())
        assert len({key.unwrap(made.public, private) for private in privates}) == 1
        ivs, encrypted = zip(*map(parts, privates), strict=True)
        assert len(set(ivs)) == len({area[:16] for area in encrypted}) == len(privates)


def test_a_private_area_made_outside_loads(both: tuple[Tester, Tester]) -> None:
    key = StorageKey(USER_AUTH | NO_DA)
    made = objects_made.keyedhash(USER_AUTH | NO_DA, b"sealed outside", auth=b"secret\0\0")
    for tester in both:
        parent = install(tester, key)
        private = key.wrap(made.public, sized(made.sensitive))
        loaded = areas.load(tester, parent, private, made.public)
        assert loaded.rc == 0
        assert loaded.handle is not None
        answer = tester.run(CC.UNSEAL, [loaded.handle], auths=[Password(b"secret")])
        assert answer.sized() == b"sealed outside"
        wrong = tester.run(CC.UNSEAL, [loaded.handle], auths=[Password(b"Secret")])
        assert wrong.rc == RC.BAD_AUTH | 0x900


def _mutated(random: Random, octets: bytes) -> bytes:
    place = random.randrange(len(octets))
    match random.randrange(3):
        case 0:
            return octets[:place]
        case 1:
            return (
                octets[:place]
                + bytes((octets[place] ^ 1 << random.randrange(8),))
                + (octets[place + 1 :])
            )
        case _:
            return octets + b"\0"


def _made(random: Random) -> Made:
    attributes = random.choice((0, USER_AUTH, FIXED_PARENT, FIXED, ENCRYPTED_DUPLICATION))
    auth = random.choice((b"", b"auth", bytes(32), b"x" * 33))
    seed = random.choice((None, b"", bytes(16), bytes(31), bytes(33), bytes(64)))
    match random.randrange(6):
        case 0:
            seed = random.choice((b"", bytes(15), bytes(16), bytes(32), bytes(33)))
            kind = random.choice((SIGN, DECRYPT, STORAGE, STORAGE | SIGN, RESTRICTED))
            return objects_made.rsa_key(attributes | areas.ORIGIN | kind, auth=auth, seed=seed)
        case 1:
            seed = random.choice((b"", bytes(15), bytes(16), bytes(32), bytes(33)))
            kind = random.choice((SIGN, DECRYPT, STORAGE, STORAGE | SIGN, RESTRICTED))
            return objects_made.ecc_key(attributes | areas.ORIGIN | kind, auth=auth, seed=seed)
        case 2:
            key = random.choice((bytes(16), bytes(32)))
            return objects_made.symcipher(attributes | DECRYPT, key, auth=auth)
        case 3:
            scheme = words(ALG.HMAC, random.choice((ALG.SHA1, ALG.SHA256)))
            secret = bytes(random.choice((0, 1, 64, 65, 128)))
            return objects_made.keyedhash(attributes | SIGN, secret, scheme=scheme, seed=seed)
        case 4:
            scheme = words(ALG.XOR, ALG.SHA256, ALG.KDF1_SP800_108)
            return objects_made.keyedhash(attributes | STORAGE, bytes(32), scheme=scheme)
        case _:
            alg = random.choice((ALG.SHA256, ALG.SHA1))
            return objects_made.keyedhash(attributes, b"data", auth=auth, seed=seed, alg=alg)


@pytest.mark.parametrize("encrypted_duplication", [0, ENCRYPTED_DUPLICATION])
def test_every_fault_has_the_code_of_libtpms(
    both: tuple[Tester, Tester], encrypted_duplication: int
) -> None:
    key = StorageKey(USER_AUTH | NO_DA)
    parents = {tester.peer: install(tester, key) for tester in both}
    random = Random(185 + encrypted_duplication)
    codes, differences = set(), []
    for _ in range(1500):
        made = _made(random)
        public, sensitive, plain = made.public, made.sensitive, b""
        if random.random() < 0.3:
            sensitive = _mutated(random, sensitive)
        if random.random() < 0.1:
            public = _mutated(random, public)
        if is_newer(public):
            continue
        plain = sized(sensitive)
        if random.random() < 0.1:
            plain = _mutated(random, plain)
        private = key.wrap(public, plain) if len(public) > 4 and public[2:4] == b"\0\x0b" else b"x"
        if random.random() < 0.1:
            private = _mutated(random, private)
        answers = [areas.load(tester, parents[tester.peer], private, public) for tester in both]
        codes.add(answers[0].rc)
        if answers[0] != answers[1]:
            rcs = [hex(answer.rc) for answer in answers]
            differences.append((rcs, public.hex(), sensitive.hex(), plain.hex()))
        for tester, answer in zip(both, answers, strict=True):
            if answer.handle is not None:
                areas.flush(tester, answer.handle)
    for d in differences[:12]:
        print(d[0], d[1][:60], d[2][:60], d[2][-40:], d[3][:40])
    assert differences == []
    assert len(codes) > 10


def test_damaged_blobs(both: tuple[Tester, Tester]) -> None:
    for tester in both:
        parent = areas.loaded_primary(tester, areas.storage())
        created = areas.create(tester, parent, areas.sealed(), data=b"data")
        private, public = created.sized(0), created.sized(1)
        for place in (1, 2, 33, 34, 36, 60, len(private) - 1):
            damaged = bytearray(private)
            damaged[place] ^= 1
            answer = areas.load(tester, parent, bytes(damaged), public)
            assert answer.rc in (RC.INTEGRITY | 0x1C0, RC.SIZE | 0x1C0), place
        assert areas.load(tester, parent, b"", public).rc == RC.SIZE | 0x1C0
        assert areas.load(tester, parent, b"\0", public).rc == RC.INSUFFICIENT | 0x1C0
        other = bytearray(public)
        other[7] ^= USER_AUTH
        assert areas.load(tester, parent, private, bytes(other)).rc == RC.INTEGRITY | 0x1C0
        second = areas.loaded_primary(tester, areas.storage(OWN | areas.ADMIN_POLICY))
        assert areas.load(tester, second, private, public).rc == RC.INTEGRITY | 0x1C0


def test_changing_the_authorization(both: tuple[Tester, Tester]) -> None:
    for tester in both:
        parent = areas.loaded_primary(tester, areas.storage())
        template = areas.keyedhash(FIXED | USER_AUTH | NO_DA)
        created = areas.create(tester, parent, template, auth=b"old", data=b"data")
        public = created.sized(1)
        child = areas.load(tester, parent, created.sized(0), public).handle
        assert child is not None
        old = [Password(b"old")]
        change = CC.OBJECT_CHANGE_AUTH
        assert tester.run(change, [child, parent], sized(b"x" * 33), old).rc == RC.SIZE | 0x1C0
        assert tester.run(change, [child, child], sized(b"new"), old).rc == RC.TYPE | 0x200
        wrong = tester.run(change, [child, parent], sized(b"new"), [Password(b"new")])
        assert wrong.rc == RC.BAD_AUTH | 0x900
        changed = tester.run(change, [child, parent], sized(b"new\0"), old)
        assert changed.rc == 0
        assert tester.run(CC.UNSEAL, [child], auths=old).sized() == b"data"
        again = areas.load(tester, parent, changed.sized(), public).handle
        assert again is not None
        assert tester.run(CC.UNSEAL, [again], auths=[Password(b"new")]).sized() == b"data"
        assert tester.run(CC.UNSEAL, [again], auths=old).rc == RC.BAD_AUTH | 0x900


def test_an_object_without_storage_parent_keeps_its_authorization(
    both: tuple[Tester, Tester],
) -> None:
    """Primary and external objects, nameless ones too: there is nothing they could be loaded by."""
    for tester in both:
        parent = areas.loaded_primary(tester, areas.storage())
        other = areas.loaded_primary(tester, areas.sealed(), data=b"data")
        made = objects_made.keyedhash(USER_AUTH)
        nameless = made.public[:2] + words(ALG.NULL) + made.public[4:]
        for public in (made.public, nameless):
            external = areas.load_external(tester, public, made.sensitive).handle
            assert external is not None
            for new in (b"", b"new"):
                for handle in (external, other):
                    change = [handle, parent], sized(new), [Password()]
                    answer = tester.run(CC.OBJECT_CHANGE_AUTH, *change)
                    assert answer.rc == RC.TYPE | 0x200
            areas.flush(tester, external)


def test_a_derived_object_keeps_its_authorization(tester: Tester) -> None:
    """It can't be loaded (Part 1, 24.1), so no private area of it leaves the TPM."""
    scheme = words(ALG.XOR, ALG.SHA256, ALG.KDF1_SP800_108)
    parent = areas.loaded_primary(tester, areas.keyedhash(OWN | STORAGE | NO_DA, scheme=scheme))
    template = areas.ecc(FIXED | USER_AUTH | SIGN, x=b"label", y=b"context")
    create = areas.sensitive_create() + sized(template)
    derived = tester.run(CC.CREATE_LOADED, [parent], create, [Password()]).handle
    assert derived is not None
    answer = tester.run(CC.OBJECT_CHANGE_AUTH, [derived, parent], sized(b"new"), [Password()])
    assert answer.rc == RC.TYPE | 0x200


def test_only_data_objects_are_unsealed(both: tuple[Tester, Tester]) -> None:
    hmac_key = areas.keyedhash(OWN | SIGN, scheme=words(ALG.HMAC, ALG.SHA256))
    for tester in both:
        for template, code in (
            (areas.storage(), RC.TYPE),
            (areas.symcipher(OWN | DECRYPT), RC.TYPE),
            (hmac_key, RC.ATTRIBUTES),
        ):
            handle = areas.loaded_primary(tester, template)
            assert tester.run(CC.UNSEAL, [handle], auths=[Password()]).rc == code | 0x100
            areas.flush(tester, handle)

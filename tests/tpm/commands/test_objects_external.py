"""TPM2_LoadExternal: public areas, and whole objects that no TPM protects (12.3)."""

from random import Random

from tests.tpm import areas, objects_made
from tests.tpm.areas import (
    ADMIN_POLICY,
    DECRYPT,
    ENCRYPTED_DUPLICATION,
    FIXED_PARENT,
    NO_DA,
    ORIGIN,
    RESTRICTED,
    SIGN,
    STORAGE,
    USER_AUTH,
    words,
)
from tests.tpm.harness import Password, Tester, sized
from tests.tpm.objects_made import Made
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.constants import ALG, CC, RH

EXTERNAL = ORIGIN | USER_AUTH | NO_DA


def _nameless(made: Made) -> Made:
    return Made(made.public[:2] + words(ALG.NULL) + made.public[4:], made.sensitive)


def _made(random: Random) -> Made:
    attributes = random.choice(
        (0, EXTERNAL, EXTERNAL, EXTERNAL | FIXED_PARENT, EXTERNAL | ENCRYPTED_DUPLICATION)
    )
    auth = random.choice((b"", b"auth", b"x" * 32, b"x" * 33, b"x" * 64))
    seed = random.choice((b"", b"", bytes(16), bytes(32), bytes(33)))
    kind = random.choice((SIGN, DECRYPT, SIGN | DECRYPT, RESTRICTED | SIGN, STORAGE, 0))
    match random.randrange(5):
        case 0:
            made = objects_made.rsa_key(attributes | kind, seed=seed, auth=auth)
        case 1:
            made = objects_made.ecc_key(attributes | kind, seed=seed, auth=auth)
        case 2:
            key = bytes(random.choice((16, 32)))
            made = objects_made.symcipher(attributes | kind, key, auth=auth)
        case 3:
            scheme = random.choice((words(ALG.HMAC, ALG.SHA256), areas.NONE))
            secret = bytes(random.choice((0, 16, 64, 65, 128)))
            made = objects_made.keyedhash(attributes | kind, secret, scheme=scheme, auth=auth)
        case _:
            made = objects_made.keyedhash(attributes, b"data", seed=seed or None, auth=auth)
    return _nameless(made) if random.random() < 0.3 else made


def _swapped(random: Random, made: Made) -> Made:
    """With the sensitive area of another object, or a slightly wrong one, now and then."""
    sensitive = bytearray(made.sensitive)
    if random.random() < 0.3:
        sensitive[random.randrange(len(sensitive))] ^= 1 << random.randrange(8)
    if random.random() < 0.1:
        return Made(made.public, _made(random).sensitive)
    return Made(made.public, bytes(sensitive))


def test_every_fault_has_the_code_of_libtpms(both: tuple[Tester, Tester]) -> None:
    random = Random(185)
    codes, differences = set(), []
    for _ in range(3000):
        made = _swapped(random, _made(random))
        hierarchy = random.choice((*[RH.NULL] * 8, RH.OWNER))
        answers = [
            areas.load_external(tester, made.public, made.sensitive, hierarchy) for tester in both
        ]
        codes.add(answers[0].rc)
        if answers[0] != answers[1]:
            rcs = [hex(answer.rc) for answer in answers]
            differences.append((rcs, made.public.hex(), made.sensitive.hex()))
        for tester, answer in zip(both, answers, strict=True):
            if answer.handle is not None:
                areas.flush(tester, answer.handle)
    assert differences == []
    assert len(codes) >= 8


def point(x: int, y: int, size: int = 32) -> bytes:
    """Public area of a P-256 key with this point."""
    return areas.ecc(EXTERNAL | SIGN, x=x.to_bytes(size), y=y.to_bytes(size))


def test_a_public_point_has_to_be_on_the_curve(both: tuple[Tester, Tester]) -> None:
    _, x, y = objects_made.p256_key()
    prime = 2**256 - 2**224 + 2**192 + 2**96 - 1
    off = RC.ECC_POINT | 0x2C0
    for public, rc in (
        (point(x, y), 0),
        (point(x, prime - y), 0),
        (point(x, y ^ 1), off),
        (point(x ^ 1, y), off),
        (point(y, x), off),
        (point(0, 0), off),
        (point(1, 1), off),
        (point(x, y, 33), RC.KEY | 0x2C0),
        (areas.ecc(EXTERNAL | SIGN, x=x.to_bytes(32), y=b""), RC.KEY | 0x2C0),
        (areas.ecc(EXTERNAL | SIGN), RC.KEY | 0x2C0),
    ):
        for tester in both:
            for hierarchy in (RH.NULL, RH.OWNER):
                loaded = areas.load_external(tester, public, hierarchy=hierarchy)
                assert loaded.rc == rc, (public.hex(), hex(loaded.rc))
                if loaded.handle is not None:
                    areas.flush(tester, loaded.handle)


def test_a_coordinate_is_below_the_prime(tester: Tester) -> None:
    """x + p is the same number modulo p, but not a coordinate."""
    prime = 2**256 - 2**224 + 2**192 + 2**96 - 1
    b = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
    small = next(x for x in range(100) if is_square(x**3 - 3 * x + b, prime))
    y = pow(small**3 - 3 * small + b, (prime + 1) // 4, prime)
    assert areas.load_external(tester, point(small, y)).rc == 0
    assert areas.load_external(tester, point(small + prime, y)).rc == RC.ECC_POINT | 0x2C0


def is_square(number: int, prime: int) -> bool:
    """Whether there is a root modulo `prime`."""
    return pow(number, (prime - 1) // 2, prime) == 1


def test_a_whole_object_has_to_be_in_no_hierarchy(both: tuple[Tester, Tester]) -> None:
    made = objects_made.ecc_key(EXTERNAL | SIGN)
    for tester in both:
        for hierarchy in (RH.OWNER, RH.ENDORSEMENT, RH.PLATFORM):
            answer = areas.load_external(tester, made.public, made.sensitive, hierarchy)
            assert answer.rc == RC.HIERARCHY | 0x3C0
        for attribute in (areas.FIXED_TPM, FIXED_PARENT, RESTRICTED):
            fixed = objects_made.ecc_key(EXTERNAL | SIGN | attribute)
            answer = areas.load_external(tester, fixed.public, fixed.sensitive)
            assert answer.rc == RC.ATTRIBUTES | 0x2C0


def test_the_qualified_name_is_the_name(both: tuple[Tester, Tester]) -> None:
    public = objects_made.ecc_key(EXTERNAL | STORAGE).public
    for tester in both:
        for hierarchy in (RH.NULL, RH.OWNER, RH.ENDORSEMENT, RH.PLATFORM):
            loaded = areas.load_external(tester, public, hierarchy=hierarchy)
            assert loaded.rc == 0
            assert loaded.handle is not None
            answer = tester.run(CC.READ_PUBLIC, [loaded.handle])
            name = areas.name_of(public)
            assert answer.parameters == sized(public) + sized(name) * 2
            areas.flush(tester, loaded.handle)


def test_an_object_without_name_alg_has_no_name(both: tuple[Tester, Tester]) -> None:
    made = _nameless(objects_made.keyedhash(EXTERNAL, b"data", auth=b"x" * 40))
    for tester in both:
        loaded = areas.load_external(tester, made.public, made.sensitive)
        assert (loaded.rc, loaded.sized()) == (0, b"")
        assert loaded.handle is not None
        read = tester.run(CC.READ_PUBLIC, [loaded.handle])
        assert read.parameters == sized(made.public) + bytes(4)
        answer = tester.run(CC.UNSEAL, [loaded.handle], auths=[Password(b"x" * 40)])
        assert answer.sized() == b"data"


def test_a_public_area_alone_authorizes_nothing(both: tuple[Tester, Tester]) -> None:
    data = objects_made.keyedhash(EXTERNAL).public
    storage = objects_made.ecc_key(EXTERNAL | STORAGE | ADMIN_POLICY).public
    for tester in both:
        handle = areas.load_external(tester, data).handle
        assert handle is not None
        assert tester.run(CC.UNSEAL, [handle], auths=[Password()]).rc == RC.AUTH_UNAVAILABLE
        parent = areas.load_external(tester, storage).handle
        assert parent is not None
        assert areas.create(tester, parent, areas.storage()).rc == RC.AUTH_UNAVAILABLE


def test_an_external_storage_key_is_no_parent(both: tuple[Tester, Tester]) -> None:
    """Even one whose private key is here: restricted is refused, so it never gets that far."""
    made = objects_made.ecc_key(EXTERNAL | STORAGE, seed=bytes(32))
    for tester in both:
        answer = areas.load_external(tester, made.public, made.sensitive)
        assert answer.rc == RC.ATTRIBUTES | 0x2C0


def test_a_disabled_hierarchy_takes_no_objects(both: tuple[Tester, Tester]) -> None:
    public = objects_made.ecc_key(EXTERNAL | SIGN).public
    for tester in both:
        loaded = areas.load_external(tester, public, hierarchy=RH.OWNER)
        assert loaded.handle is not None
        disable = RH.OWNER.to_bytes(4) + b"\0"
        assert tester.run(CC.HIERARCHY_CONTROL, [RH.OWNER], disable, [Password()]).rc == 0
        # The one that was there is gone as well.
        assert tester.run(CC.READ_PUBLIC, [loaded.handle]).rc == RC.REFERENCE_H0
        answer = areas.load_external(tester, public, hierarchy=RH.OWNER)
        assert answer.rc == RC.HIERARCHY | 0x3C0

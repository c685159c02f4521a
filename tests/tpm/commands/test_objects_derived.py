"""Derived objects: the same from every TPM that has the parent (12.9; Part 1, clause 25)."""

import pytest

from tests.tpm import areas, objects_made
from tests.tpm.areas import DECRYPT, FIXED, MOVABLE, NO_DA, OWN, SIGN, STORAGE, USER_AUTH, words
from tests.tpm.harness import Password, Result, Tester, digest, kdfa, sized
from tests.tpm.wrapping import StorageKey, install
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.constants import ALG, CC, ECC_CURVE

XOR = words(ALG.XOR, ALG.SHA384, ALG.KDF1_SP800_108)
PARENT = areas.keyedhash(OWN | STORAGE | NO_DA, scheme=XOR)
DERIVED = FIXED | USER_AUTH
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def derived_template(kind: str, label: bytes, context: bytes, attributes: int = DERIVED) -> bytes:
    """A template whose `unique` is a TPMS_DERIVE."""
    derive = sized(label) + sized(context)
    match kind:
        case "P-256":
            return areas.ecc(attributes | SIGN, x=label, y=context)
        case "P-521":
            curve = ECC_CURVE.NIST_P521
            return areas.ecc(attributes | DECRYPT, curve=curve, x=label, y=context)
        case "AES-128":
            return areas.symcipher(attributes | DECRYPT)[:-2] + derive
        case "AES-256 storage":
            symmetric = words(ALG.AES, 256, ALG.CFB)
            return areas.symcipher(attributes | STORAGE, symmetric=symmetric)[:-2] + derive
        case "HMAC":
            scheme = words(ALG.HMAC, ALG.SHA1)
            return areas.keyedhash(attributes | SIGN, scheme=scheme)[:-2] + derive
        case _:
            return areas.keyedhash(attributes)[:-2] + derive


def derive(tester: Tester, parent: int, template: bytes, data: bytes = b"") -> Result:
    """TPM2_CreateLoaded."""
    parameters = areas.sensitive_create(data=data) + sized(template)
    return tester.run(CC.CREATE_LOADED, [parent], parameters, [Password()])


@pytest.mark.parametrize("kind", ["P-256", "P-521", "AES-128", "HMAC", "data"])
@pytest.mark.parametrize("label", [b"", b"label", b"label\0", b"l" * 32])
def test_objects_are_those_of_libtpms(
    testers: tuple[Tester, Tester], kind: str, label: bytes
) -> None:
    parent, _ = (areas.loaded_primary(tester, PARENT) for tester in testers)
    for context in (b"", b"context"):
        template = derived_template(kind, label, context)
        for data in (b"", sized(b"other label") + sized(b"other context"), bytes(4) + b"more"):
            engine, swtpm = (derive(tester, parent, template, data) for tester in testers)
            assert engine.rc == 0
            assert engine == swtpm
            assert engine.handle is not None
            assert engine.sized(0) == b""
            read = [tester.run(CC.READ_PUBLIC, [engine.handle]) for tester in testers]
            assert read[0] == read[1]
            for tester in testers:
                areas.flush(tester, engine.handle)


def test_a_key_is_the_first_octets_of_kdfa(tester: Tester) -> None:
    key = StorageKey(USER_AUTH | NO_DA)
    root = install(tester, key)
    scheme = words(ALG.XOR, ALG.SHA256, ALG.KDF1_SP800_108)
    secret = b"secret of the parent".ljust(32)
    made = objects_made.keyedhash(USER_AUTH | NO_DA | STORAGE, secret, scheme=scheme)
    private = key.wrap(made.public, sized(made.sensitive))
    parent = areas.load(tester, root, private, made.public).handle
    assert parent is not None
    stream = kdfa(ALG.SHA256, secret, b"label", b"context", b"", 8192)
    attributes = USER_AUTH | areas.FIXED_PARENT
    answer = derive(tester, parent, derived_template("AES-128", b"label", b"context", attributes))
    assert answer.sized(1).endswith(sized(digest(ALG.SHA256, stream[16:48], stream[:16])))
    assert answer.handle is not None
    areas.flush(tester, answer.handle)
    answer = derive(tester, parent, derived_template("P-256", b"label", b"context", attributes))
    private_key = int.from_bytes(stream[:40]) % (P256_ORDER - 1) + 1
    numbers = objects_made.public_numbers(private_key)
    assert answer.sized(1).endswith(sized(numbers.x.to_bytes(32)) + sized(numbers.y.to_bytes(32)))


REFUSED = {
    "RSA": (areas.rsa(DERIVED | SIGN)[:-2] + bytes(4), b"", RC.TYPE | 0x2C0),
    "origin": (derived_template("P-256", b"", b"", OWN), b"", RC.ATTRIBUTES),
    "not fixed": (derived_template("P-256", b"", b"", USER_AUTH), b"", RC.ATTRIBUTES | 0x2C0),
    "fixedParent only": (
        derived_template("P-256", b"", b"", USER_AUTH | areas.FIXED_PARENT),
        b"",
        RC.ATTRIBUTES | 0x2C0,
    ),
    "long label": (derived_template("P-256", b"l" * 33, b""), b"", RC.SIZE | 0x2C0),
    "no nameAlg": (areas.ecc(DERIVED | SIGN, alg=ALG.NULL), b"", RC.HASH | 0x2C0),
    "short data": (derived_template("P-256", b"", b""), b"\0\x05abc", RC.INSUFFICIENT),
    "long label in data": (derived_template("P-256", b"", b""), sized(b"l" * 33), RC.SIZE),
    "storage with a cipher of its own": (
        derived_template("AES-256 storage", b"", b""),
        b"",
        RC.SYMMETRIC | 0x2C0,
    ),
}


@pytest.mark.parametrize(("template", "data", "code"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(both: tuple[Tester, Tester], template: bytes, data: bytes, code: int) -> None:
    for tester in both:
        parent = areas.loaded_primary(tester, PARENT)
        assert derive(tester, parent, template, data).rc == code


def test_a_derivation_parent_has_no_children(both: tuple[Tester, Tester]) -> None:
    for tester in both:
        for attributes in (OWN, MOVABLE):
            template = areas.keyedhash(attributes | STORAGE | NO_DA, scheme=XOR)
            parent = areas.loaded_primary(tester, template)
            answer = areas.create(tester, parent, areas.sealed(), data=b"d")
            assert answer.rc == RC.TYPE | 0x100

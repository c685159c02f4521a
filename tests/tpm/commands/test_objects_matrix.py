"""Commands that take objects, with every kind of object in every place (chapters 12, 13 and 28)."""

from collections.abc import Callable, Iterator

import pytest

from tests.differential.differences import explains
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
from tests.tpm.harness import Password, Result, Tester, sized
from tests.tpm.wrapping import StorageKey, share_with
from vtpmd.tpm.wire.constants import ALG, CC, RH

PARENT = StorageKey(USER_AUTH | NO_DA)
XOR = words(ALG.XOR, ALG.SHA256, ALG.KDF1_SP800_108)
HMAC = words(ALG.HMAC, ALG.SHA256)
DATA = objects_made.keyedhash(USER_AUTH, b"data")


def nameless(public: bytes) -> bytes:
    """A TPMT_PUBLIC without nameAlg."""
    return public[:2] + words(ALG.NULL) + public[4:]


def signing_too(public: bytes) -> bytes:
    """A TPMT_PUBLIC with sign SET, whatever else is."""
    return public[:4] + (int.from_bytes(public[4:8]) | SIGN).to_bytes(4) + public[8:]


def primary(template: bytes, data: bytes = b"") -> Callable[[Tester], int]:
    return lambda tester: areas.loaded_primary(tester, template, data=data)


def external(public: bytes, sensitive: bytes = b"") -> Callable[[Tester], int]:
    def load(tester: Tester) -> int:
        hierarchy = RH.NULL if sensitive else RH.OWNER
        handle = areas.load_external(tester, public, sensitive, hierarchy).handle
        assert handle is not None
        if public[2:4] == words(ALG.NULL):
            tester.names[handle] = b""
        return handle

    return load


def sequence(tester: Tester) -> int:
    handle = tester.run(CC.HASH_SEQUENCE_START, params=sized(b"") + words(ALG.SHA256)).handle
    assert handle is not None
    tester.names[handle] = b""
    return handle


ECC_KEY = objects_made.ecc_key(USER_AUTH | areas.ORIGIN | DECRYPT)
KINDS: dict[str, Callable[[Tester], int]] = {
    "ECC storage": primary(areas.storage()),
    "RSA storage": primary(areas.rsa(OWN | STORAGE | NO_DA, symmetric=AES_128_CFB)),
    "AES storage": primary(areas.symcipher(OWN | STORAGE | NO_DA)),
    "movable storage": primary(areas.storage(MOVABLE)),
    "derivation parent": primary(areas.keyedhash(OWN | STORAGE | NO_DA, scheme=XOR)),
    "signing": primary(areas.ecc(OWN | SIGN | NO_DA)),
    "decryption": primary(areas.ecc(OWN | DECRYPT | NO_DA)),
    "cipher": primary(areas.symcipher(OWN | DECRYPT | NO_DA)),
    "sealed": primary(areas.sealed(FIXED | USER_AUTH | NO_DA), data=b"data"),
    "public storage": external(PARENT.public),
    "public storage that signs": external(signing_too(PARENT.public)),
    "nameless public storage": external(nameless(PARENT.public)),
    "nameless data": external(nameless(DATA.public), DATA.sensitive),
    "nameless key": external(nameless(ECC_KEY.public), ECC_KEY.sensitive),
    "sequence": sequence,
    "NULL": lambda tester: RH.NULL,
}
Step = tuple[int, bytes, int]


def steps_with_one() -> Iterator[Step]:
    """Command, parameters and how many authorizations."""
    template, wrapped = areas.keyedhash(USER_AUTH), sized(DATA.sensitive)
    secret, aes_128 = share_with(PARENT.public, b"DUPLICATE")[1], words(ALG.AES, 128, ALG.CFB)
    yield CC.CREATE, areas.create_parameters(template, data=b"data"), 1
    yield CC.LOAD, sized(bytes(100)) + sized(DATA.public), 1
    yield CC.READ_PUBLIC, b"", 0
    yield CC.MAKE_CREDENTIAL, sized(b"credential") + sized(b"name"), 0
    yield CC.MAKE_CREDENTIAL, sized(b"") + sized(b""), 0
    yield CC.UNSEAL, b"", 1
    yield CC.CREATE_LOADED, areas.sensitive_create(data=bytes(4)) + sized(template), 1
    yield CC.CONTEXT_SAVE, b"", 0
    for key, blob, seed, inner in (
        (b"", wrapped, b"", NONE),
        (b"", bytes(90), secret, NONE),
        (bytes(16), bytes(90), b"", aes_128),
    ):
        duplicate = sized(key) + sized(DATA.public) + sized(blob) + sized(seed) + inner
        yield CC.IMPORT, duplicate, 1


def steps_with_two() -> Iterator[Step]:
    """The same for commands with two objects."""
    secret = share_with(PARENT.public, b"IDENTITY")[1]
    yield CC.ACTIVATE_CREDENTIAL, sized(bytes(64)) + sized(secret), 2
    yield CC.OBJECT_CHANGE_AUTH, sized(b""), 1
    yield CC.OBJECT_CHANGE_AUTH, sized(b"new"), 1
    yield CC.DUPLICATE, sized(b"") + NONE, 1
    yield CC.REWRAP, sized(bytes(80)) + sized(b"name") + sized(b""), 1
    yield CC.REWRAP, sized(bytes(80)) + sized(b"name") + sized(secret), 1
    yield CC.REWRAP, sized(bytes(900)) + sized(b"name") + sized(b""), 1


def agree(both: tuple[Tester, Tester], step: Step, handles: list[int]) -> None:
    code, parameters, count = step

    def run(tester: Tester) -> Result:
        answer = tester.run(code, handles, parameters, [Password()] * count)
        if answer.handle is not None:
            areas.flush(tester, answer.handle)
        return answer

    ours, theirs = map(run, both)
    if ours.rc != theirs.rc:
        assert explains(both[0].sent, ours.rc, theirs.rc), f"{ours.rc:#x}, swtpm {theirs.rc:#x}"


def loaded(both: tuple[Tester, Tester], kind: str) -> int:
    handles = {KINDS[kind](tester) for tester in both}
    assert len(handles) == 1
    return handles.pop()


def release(both: tuple[Tester, Tester], handle: int) -> None:
    if handle != RH.NULL:
        for tester in both:
            areas.flush(tester, handle)


@pytest.mark.parametrize("kind", KINDS)
def test_every_object_everywhere(both: tuple[Tester, Tester], kind: str) -> None:
    first = loaded(both, kind)
    for step in steps_with_one():
        agree(both, step, [first])
    for other in KINDS:
        second = loaded(both, other)
        for step in steps_with_two():
            agree(both, step, [first, second])
        release(both, second)

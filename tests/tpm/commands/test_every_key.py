"""Every command that takes a key, with every kind of key that version 185 brought.

The codes are those of the commands' clauses in Part 3: which kinds of keys a command is for, and
which of two faults is found first where a key has both.
"""

import inspect
import struct
from collections.abc import Callable, Iterator
from typing import get_args

import pytest

from tests.tpm import areas
from tests.tpm.areas import (
    AES_128_CFB,
    DECRYPT,
    NO_DA,
    NONE,
    OWN,
    RESTRICTED,
    SIGN,
    STORAGE,
    USER_AUTH,
    words,
)
from tests.tpm.commands.nv_area import INDEX, OWNER_RW, Area
from tests.tpm.commands.test_certify_x509 import DIGITAL_SIGNATURE, partial
from tests.tpm.harness import AUDIT, CONTINUE, EnginePeer, Password, Session, Tester, digest, sized
from tests.tpm.known_keys import ecc_areas
from tests.tpm.octet_keys import ECDH, EDDSA, HASH_EDDSA
from tests.tpm.seeded_keys import H1, H2, NULL_TICKET, P1, P2, P3, start_signing, start_verifying
from vtpmd.tpm.command import COMMANDS
from vtpmd.tpm.rc import RC
from vtpmd.tpm.state import LoadedObject
from vtpmd.tpm.wire.constants import ALG, CC, ECC_CURVE, RH

C25519 = ECC_CURVE.CURVE_25519
HKDF = words(ALG.HKDF, ALG.SHA256)
KEYS = {
    "KEM": areas.mlkem(OWN | DECRYPT | NO_DA),
    "KEM parent": areas.mlkem(OWN | STORAGE | NO_DA, symmetric=AES_128_CFB),
    "MLDSA": areas.mldsa(OWN | SIGN | NO_DA, external_mu=True),
    "MLDSA AK": areas.mldsa(OWN | SIGN | RESTRICTED | NO_DA),
    "HASH_MLDSA": areas.hash_mldsa(OWN | SIGN | NO_DA, hash_alg=ALG.SHA512),
    "EDDSA": areas.ecc(OWN | SIGN | NO_DA, scheme=EDDSA, curve=C25519),
    "HASH_EDDSA": areas.ecc(OWN | SIGN | NO_DA, scheme=HASH_EDDSA, curve=C25519),
    "X25519": areas.ecc(OWN | DECRYPT | NO_DA, scheme=ECDH, curve=C25519, kdf=HKDF),
    "X25519 parent": areas.ecc(OWN | STORAGE | NO_DA, symmetric=AES_128_CFB, curve=C25519),
}
"""Templates by kind."""
KEM, KEM_PARENT, MLDSA, MLDSA_AK, HASH_MLDSA, EDDSA_KEY, HASH_EDDSA_KEY, X25519, X_PARENT = KEYS
PARENTS, EXCHANGING = (KEM_PARENT, X_PARENT), (X25519, X_PARENT)
SIGNERS = (MLDSA, MLDSA_AK, HASH_MLDSA, EDDSA_KEY, HASH_EDDSA_KEY)
OF_DIGESTS = (HASH_MLDSA, HASH_EDDSA_KEY)
NONCE, POINT = sized(b"nonce"), sized(sized(bytes(32)) + sized(b""))
PCRS = struct.pack(">IHB", 1, ALG.SHA256, 3) + b"\x07\0\0"
_BASE_POINT = b"\x09" + bytes(31)
DATA = areas.keyedhash(USER_AUTH | NO_DA)
SIGNATURE = {
    HASH_MLDSA: words(ALG.HASH_MLDSA, ALG.SHA512) + sized(bytes(2420)),
    EDDSA_KEY: EDDSA + sized(bytes(64)),
    HASH_EDDSA_KEY: HASH_EDDSA + sized(bytes(64)),
}
"""One that no key has made, of the key's own scheme."""


class World:
    """A TPM that holds each of the keys, and whatever else commands need."""

    def __init__(self, tester: Tester) -> None:
        self.tpm = tester
        self.handles = {kind: 0x81000100 + number for number, kind in enumerate(KEYS)}

    def furnish(self) -> None:
        """Make all of it, which stays."""
        tester = self.tpm
        for kind, template in KEYS.items():
            key = areas.loaded_primary(tester, template)
            params = self.handles[kind].to_bytes(4)
            evicted = tester.run(CC.EVICT_CONTROL, [RH.OWNER, key], params, [Password()])
            assert evicted.rc == 0, hex(evicted.rc)
            areas.flush(tester, key)
        define = sized(b"") + sized(Area(attributes=OWNER_RW, size=8).marshal())
        assert tester.run(CC.NV_DEFINE_SPACE, [RH.OWNER], define, [Password()]).rc == 0
        write = sized(bytes(8)) + words(0)
        assert tester.run(CC.NV_WRITE, [RH.OWNER, INDEX], write, [Password()]).rc == 0

    def run(
        self, code: int, handles: list[int], params: bytes = b"", auths: int | list[Session] = 0
    ) -> int:
        """The response code; what was loaded is flushed."""
        given = [Password()] * auths if isinstance(auths, int) else auths
        answer = self.tpm.run(code, handles, params, given)
        if answer.handle is not None and answer.handle >> 24 in (0x80, 0x02, 0x03):
            areas.flush(self.tpm, answer.handle)
        return answer.rc

    def beside(self, *, verifies: bool) -> int:
        """A sequence that another key has started."""
        other = areas.loaded_external(self.tpm, *ecc_areas(SIGN, words(ALG.ECDSA, ALG.SHA256)))
        start = start_verifying if verifies else start_signing
        started = start(self.tpm, other)
        areas.flush(self.tpm, other)
        assert started.handle is not None
        return started.handle


Try = Callable[[World, int, str], int]
"""Sends a command with a key, which is of a kind; returns the response code."""


def on(code: int, params: bytes = b"", auths: int = 1, *others: int, before: bool = False) -> Try:
    """A command with the key as its first handle, or as its last with `before`."""

    def run(world: World, key: int, kind: str) -> int:
        handles = [*others, key] if before else [key, *others]
        return world.run(code, handles, params, auths)

    return run


def _audit_digest(world: World, key: int, kind: str) -> int:
    session = world.tpm.start_session()
    session.attributes = CONTINUE | AUDIT
    assert world.tpm.run(CC.GET_RANDOM, params=words(8), auths=[session]).rc == 0
    code = CC.GET_SESSION_AUDIT_DIGEST
    found = world.run(code, [RH.ENDORSEMENT, key, session.handle], NONCE + NONE, 2)
    areas.flush(world.tpm, session.handle)
    return found


def _policy_signed(world: World, key: int, kind: str) -> int:
    session = world.tpm.start_session(1)
    params = sized(b"") * 3 + bytes(4)
    signature = SIGNATURE.get(kind, words(ALG.MLDSA) + sized(bytes(2420)))
    found = world.run(CC.POLICY_SIGNED, [key, session.handle], params + signature)
    areas.flush(world.tpm, session.handle)
    return found


def _verified_digest(world: World, key: int, kind: str) -> int:
    signature = SIGNATURE.get(kind, words(ALG.MLDSA) + sized(bytes(2420)))
    params = sized(b"") + sized(bytes(64)) + signature
    return world.run(CC.VERIFY_DIGEST_SIGNATURE, [key], params)


def _verified_signature(world: World, key: int, kind: str) -> int:
    signature = SIGNATURE.get(kind, words(ALG.MLDSA) + sized(bytes(2420)))
    return world.run(CC.VERIFY_SIGNATURE, [key], sized(bytes(64)) + signature)


def _verification(world: World, key: int, kind: str) -> int:
    hint = bytes(32) if kind == EDDSA_KEY else b""
    return world.run(CC.VERIFY_SEQUENCE_START, [key], sized(b"") + sized(hint) + sized(b""))


def _completion(code: int, *, verifies: bool) -> Try:
    def run(world: World, key: int, kind: str) -> int:
        sequence = world.beside(verifies=verifies)
        signature = SIGNATURE.get(kind, words(ALG.MLDSA) + sized(bytes(2420)))
        params, auths = (signature, 1) if verifies else (sized(b"data"), 2)
        found = world.run(code, [sequence, key], params, auths)
        areas.flush(world.tpm, sequence)
        return found

    return run


def _data_below(world: World, key: int, kind: str) -> int:
    params = areas.create_parameters(DATA, data=b"data")
    return world.run(CC.CREATE, [key], params, 1)


def _loaded(world: World, key: int, kind: str) -> int:
    return world.run(CC.LOAD, [key], sized(bytes(64)) + sized(DATA), 1)


def _created_loaded(world: World, key: int, kind: str) -> int:
    params = areas.sensitive_create(data=b"data") + sized(DATA)
    return world.run(CC.CREATE_LOADED, [key], params, 1)


def _imported(world: World, key: int, kind: str) -> int:
    public, sensitive = ecc_areas(SIGN)
    return areas.import_object(world.tpm, key, public, sized(sensitive)).rc


def _rewrapped(world: World, key: int, kind: str) -> int:
    params = sized(bytes(64)) + sized(words(ALG.SHA256) + bytes(32)) + sized(b"")
    return world.run(CC.REWRAP, [RH.NULL, key], params, 1)


def _duplicated(world: World, key: int, kind: str) -> int:
    """To the key, of an object below another."""
    said = struct.pack(">II", CC.POLICY_COMMAND_CODE, CC.DUPLICATE)
    parent = world.handles[X_PARENT]
    template = areas.keyedhash(USER_AUTH | NO_DA, policy=digest(ALG.SHA256, bytes(32), said))
    child = areas.loaded_child(world.tpm, parent, template, data=b"data")
    session = world.tpm.start_session(1)
    code = CC.DUPLICATE.to_bytes(4)
    assert world.tpm.run(CC.POLICY_COMMAND_CODE, [session.handle], code).rc == 0
    session.attributes = CONTINUE
    found = world.run(CC.DUPLICATE, [child, key], sized(b"") + NONE, [session])
    areas.flush(world.tpm, session.handle)
    areas.flush(world.tpm, child)
    return found


def _salted(world: World, key: int, kind: str) -> int:
    """With a point of X25519, which is too short for ML-KEM."""
    salt = sized(_BASE_POINT) + sized(b"")
    params = sized(bytes(16)) + sized(salt) + b"\0" + NONE + words(ALG.SHA256)
    return world.run(CC.START_AUTH_SESSION, [key, RH.NULL], params)


_KDF2 = words(ALG.KDF2, ALG.SHA256)
_CERTIFICATE = sized(b"") + NONE + sized(partial(DIGITAL_SIGNATURE))
_CREDENTIAL = sized(b"c") + sized(words(ALG.SHA256) + bytes(32))
_CREATION = NONCE + sized(bytes(32)) + NONE + words(0x8021) + RH.OWNER.to_bytes(4) + sized(b"")
TRIES: dict[str, Try] = {
    "RSA_ENCRYPT": on(CC.RSA_ENCRYPT, sized(b"m") + NONE + sized(b""), 0),
    "RSA_DECRYPT": on(CC.RSA_DECRYPT, sized(bytes(256)) + NONE + sized(b"")),
    "ECDH_KEY_GEN": on(CC.ECDH_KEY_GEN, b"", 0),
    "ECDH_ZGEN": on(CC.ECDH_ZGEN, sized(sized(_BASE_POINT) + sized(b""))),
    "ZGEN_2PHASE": on(CC.ZGEN_2PHASE, POINT * 2 + words(ALG.ECDH, 0)),
    "ECC_ENCRYPT": on(CC.ECC_ENCRYPT, sized(b"m") + _KDF2, 0),
    "ECC_DECRYPT": on(CC.ECC_DECRYPT, POINT + sized(b"m") + sized(bytes(32)) + _KDF2),
    "ENCAPSULATE": on(CC.ENCAPSULATE, b"", 0),
    "DECAPSULATE": on(CC.DECAPSULATE, sized(bytes(1088))),
    "COMMIT": on(CC.COMMIT, POINT + sized(b"") * 2),
    "ENCRYPT_DECRYPT": on(CC.ENCRYPT_DECRYPT, b"\0" + NONE + sized(b"") + sized(b"m")),
    "ENCRYPT_DECRYPT2": on(CC.ENCRYPT_DECRYPT2, sized(b"m") + b"\0" + NONE + sized(b"")),
    "HMAC": on(CC.HMAC, sized(b"m") + NONE),
    "HMAC_START": on(CC.HMAC_START, sized(b"") + NONE),
    "SIGN": on(CC.SIGN, sized(bytes(64)) + NONE + NULL_TICKET),
    "VERIFY_SIGNATURE": _verified_signature,
    "SIGN_DIGEST": on(CC.SIGN_DIGEST, sized(b"") + sized(bytes(64)) + NULL_TICKET),
    "VERIFY_DIGEST_SIGNATURE": _verified_digest,
    "SIGN_SEQUENCE_START": on(CC.SIGN_SEQUENCE_START, sized(b"") * 2, 0),
    "VERIFY_SEQUENCE_START": _verification,
    "SIGN_SEQUENCE_COMPLETE": _completion(CC.SIGN_SEQUENCE_COMPLETE, verifies=False),
    "VERIFY_SEQUENCE_COMPLETE": _completion(CC.VERIFY_SEQUENCE_COMPLETE, verifies=True),
    "SEQUENCE_UPDATE": on(CC.SEQUENCE_UPDATE, sized(b"data")),
    "SEQUENCE_COMPLETE": on(CC.SEQUENCE_COMPLETE, sized(b"") + RH.NULL.to_bytes(4)),
    "EVENT_SEQUENCE_COMPLETE": on(CC.EVENT_SEQUENCE_COMPLETE, sized(b""), 2, RH.NULL, before=True),
    "CERTIFY": lambda world, key, kind: world.run(CC.CERTIFY, [key, key], NONCE + NONE, 2),
    "CERTIFY_CREATION": lambda world, key, kind: world.run(
        CC.CERTIFY_CREATION, [key, key], _CREATION, 1
    ),
    "QUOTE": on(CC.QUOTE, NONCE + NONE + PCRS),
    "GET_SESSION_AUDIT_DIGEST": _audit_digest,
    "GET_COMMAND_AUDIT_DIGEST": on(
        CC.GET_COMMAND_AUDIT_DIGEST, NONCE + NONE, 2, RH.ENDORSEMENT, before=True
    ),
    "GET_TIME": on(CC.GET_TIME, NONCE + NONE, 2, RH.ENDORSEMENT, before=True),
    "CERTIFY_X509": lambda world, key, kind: world.run(
        CC.CERTIFY_X509, [key, key], _CERTIFICATE, 2
    ),
    "NV_CERTIFY": on(CC.NV_CERTIFY, NONCE + NONE + words(8, 0), 2, RH.OWNER, INDEX),
    "READ_PUBLIC": on(CC.READ_PUBLIC, b"", 0),
    "UNSEAL": on(CC.UNSEAL),
    "CREATE": _data_below,
    "LOAD": _loaded,
    "CREATE_LOADED": _created_loaded,
    "IMPORT": _imported,
    "REWRAP": _rewrapped,
    "DUPLICATE": _duplicated,
    "MAKE_CREDENTIAL": on(CC.MAKE_CREDENTIAL, _CREDENTIAL, 0),
    "ACTIVATE_CREDENTIAL": lambda world, key, kind: world.run(
        CC.ACTIVATE_CREDENTIAL, [key, key], sized(b"") + sized(b""), 2
    ),
    "OBJECT_CHANGE_AUTH": lambda world, key, kind: world.run(
        CC.OBJECT_CHANGE_AUTH, [key, key], sized(b""), 1
    ),
    "POLICY_SIGNED": _policy_signed,
    "START_AUTH_SESSION": _salted,
}
"""By the name of the command."""

ATTRIBUTES, KEY, MODE, SCHEME = RC.ATTRIBUTES, RC.KEY, RC.MODE, RC.SCHEME
SIGNATURE_RC, SIZE, TYPE = RC.SIGNATURE, RC.SIZE, RC.TYPE
P4, P5 = 0x440, 0x540
EDWARDS = (EDDSA_KEY, HASH_EDDSA_KEY)


def of(codes: dict[int, tuple[str, ...] | str], other: int) -> dict[str, int]:
    """The code of each kind of key."""
    found = dict.fromkeys(KEYS, other)
    for code, kinds in codes.items():
        found.update(dict.fromkeys((kinds,) if isinstance(kinds, str) else kinds, code))
    return found


EXPECTED: dict[str, dict[str, int]] = {
    # Part 3, chapter 14, and Part 2, 12.2.3.5: those of other keys are for other keys.
    "RSA_ENCRYPT": of({}, KEY | H1),
    "RSA_DECRYPT": of({}, KEY | H1),
    "ECDH_KEY_GEN": of({0: EXCHANGING}, KEY | H1),
    "ECDH_ZGEN": of({0: X25519, ATTRIBUTES | H1: (*EDWARDS, X_PARENT)}, KEY | H1),
    "ZGEN_2PHASE": of({ATTRIBUTES | H1: (*EDWARDS, X_PARENT)}, KEY | H1),
    "ECC_ENCRYPT": of({}, KEY | H1),
    "ECC_DECRYPT": of({ATTRIBUTES | H1: (*EDWARDS, X_PARENT)}, KEY | H1),
    "ENCAPSULATE": of({0: (KEM, KEM_PARENT, X25519)}, KEY | H1),
    "DECAPSULATE": of({0: KEM, SIZE | P1: X25519, ATTRIBUTES | H1: KEM_PARENT}, KEY | H1),
    "COMMIT": of({SCHEME | H1: (*EDWARDS, *EXCHANGING)}, KEY | H1),
    "ENCRYPT_DECRYPT": of({}, KEY | H1),
    "ENCRYPT_DECRYPT2": of({}, KEY | H1),
    "HMAC": of({}, TYPE | H1),
    "HMAC_START": of({}, TYPE | H1),
    # Chapters 17 and 20, table 115.
    "SIGN": of({SCHEME | P2: SIGNERS}, KEY | H1),
    "VERIFY_SIGNATURE": of({SCHEME | P2: SIGNERS}, ATTRIBUTES | H1),
    "SIGN_DIGEST": of(
        {0: (MLDSA, *OF_DIGESTS), RC.EXT_MU | H1: MLDSA_AK, SCHEME | H1: EDDSA_KEY}, KEY | H1
    ),
    "VERIFY_DIGEST_SIGNATURE": of(
        {
            SIGNATURE_RC | P3: (MLDSA, *OF_DIGESTS),
            RC.EXT_MU | H1: MLDSA_AK,
            SCHEME | H1: EDDSA_KEY,
        },
        KEY | H1,
    ),
    "SIGN_SEQUENCE_START": of({0: SIGNERS}, KEY | H1),
    "VERIFY_SEQUENCE_START": of({0: SIGNERS}, KEY | H1),
    "SIGN_SEQUENCE_COMPLETE": of({}, RC.SIGN_CONTEXT_KEY | H2),
    "VERIFY_SEQUENCE_COMPLETE": of({}, RC.SIGN_CONTEXT_KEY | H2),
    "SEQUENCE_UPDATE": of({}, MODE | H1),
    "SEQUENCE_COMPLETE": of({}, MODE | H1),
    "EVENT_SEQUENCE_COMPLETE": of({}, MODE | H2),
    # Chapter 18.
    "CERTIFY": of({0: SIGNERS}, KEY | H2),
    "CERTIFY_CREATION": of({RC.TICKET | P4: SIGNERS}, KEY | H1),
    "QUOTE": of({0: SIGNERS}, KEY | H1),
    "GET_SESSION_AUDIT_DIGEST": of({0: SIGNERS}, KEY | H2),
    "GET_COMMAND_AUDIT_DIGEST": of({0: SIGNERS}, KEY | H2),
    "GET_TIME": of({0: SIGNERS}, KEY | H2),
    "CERTIFY_X509": of({SCHEME | H2: SIGNERS}, KEY | H2),
    "NV_CERTIFY": of({0: SIGNERS}, KEY | H1),
    # Chapters 11 to 13.
    "READ_PUBLIC": of({}, 0),
    "UNSEAL": of({}, TYPE | H1),
    "CREATE": of({0: PARENTS}, TYPE | H1),
    "LOAD": of({RC.INTEGRITY | P1: PARENTS}, TYPE | H1),
    "CREATE_LOADED": of({0: PARENTS}, TYPE | H1),
    "IMPORT": of({0: PARENTS}, TYPE | H1),
    "REWRAP": of({0: PARENTS}, TYPE | H2),
    "DUPLICATE": of({0: PARENTS}, TYPE | H2),
    "MAKE_CREDENTIAL": of({0: PARENTS}, TYPE | H1),
    "ACTIVATE_CREDENTIAL": of({SIZE | P2: KEM_PARENT, RC.INSUFFICIENT | P2: X_PARENT}, TYPE | H2),
    "OBJECT_CHANGE_AUTH": of({}, TYPE | H2),
    "START_AUTH_SESSION": of(
        {RC.VALUE | P2: (KEM, KEM_PARENT), 0: EXCHANGING, ATTRIBUTES | H1: EDWARDS}, KEY | H1
    ),
    "POLICY_SIGNED": of({SIGNATURE_RC | P5: SIGNERS}, SCHEME | P5),
}
ELSEWHERE = {
    "CONTEXT_SAVE": "takes any object, and those of this table are persistent",
    "EVICT_CONTROL": "has made them persistent",
    "POLICY_SECRET": "takes any entity, whose kind does not matter",
}


@pytest.fixture(scope="module")
def stored() -> bytes:
    """The permanent state of a TPM with all keys."""
    peer = EnginePeer.manufactured(profile="pqc-v1")
    tester = Tester(peer)
    assert tester.startup() == 0
    World(tester).furnish()
    return peer.stored


@pytest.fixture
def world(stored: bytes) -> Iterator[World]:
    peer = EnginePeer.restored(stored)
    tester = Tester(peer)
    assert tester.startup() == 0
    yield World(tester)
    peer.close()


@pytest.mark.parametrize("name", TRIES)
def test_every_kind_of_key(world: World, name: str) -> None:
    found = {kind: TRIES[name](world, key, kind) for kind, key in world.handles.items()}
    assert {kind: hex(code) for kind, code in found.items()} == {
        kind: hex(code) for kind, code in EXPECTED[name].items()
    }


def test_every_command_that_takes_an_object_is_tried() -> None:
    taking = {CC(code).name for code, spec in COMMANDS.items() if _takes_an_object(spec.action)}
    assert taking == TRIES.keys() | ELSEWHERE.keys()


def _takes_an_object(action: Callable[..., object]) -> bool:
    """Whether an object alone can be in its handle area: hierarchies and the like are none."""
    parameters = inspect.signature(action).parameters.values()
    handles = [found for found in parameters if found.kind is found.POSITIONAL_ONLY]
    return any(
        LoadedObject in (entity, *get_args(entity))
        for found in handles
        for entity in get_args(found.annotation)[:1]
    )

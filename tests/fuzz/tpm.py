"""A TPM to be fuzzed: always from the same state, and checked after every command."""

import hashlib
import struct
from functools import cache
from unittest import mock

from tests.tpm import areas, known_keys, octet_keys
from tests.tpm.commands.nv_area import INDEX, OWNER_RW, Area, define, of_type, write
from tests.tpm.commands.policy_steps import command_code, policy_digest
from tests.tpm.harness import (
    AUDIT,
    EnginePeer,
    HostClock,
    Password,
    Tester,
    encoded_states,
    sized,
    unchanged,
)
from vtpmd.tpm.engine import Engine
from vtpmd.tpm.wire.attributes import TPMA_NV
from vtpmd.tpm.wire.constants import ALG, CC, ECC_CURVE, NT, RH, SE, ST

LOCALITIES = (0, 1, 2, 3, 4, 32)
SIGNING_KEY, SEQUENCE = 0x80000000, 0x80000001
"""The transient objects, which leave a slot free. All authValues are empty."""
STORAGE_KEY, RSA_KEY, HMAC_KEY, CIPHER_KEY = range(0x81000001, 0x81000005)
SEALED, COMMITTING_KEY, EXCHANGE_KEY, MOVABLE_KEY = range(0x81000005, 0x81000009)
CERTIFYING_KEY, KEM_KEY, MLDSA_KEY, MLKEM_PARENT = range(0x81000009, 0x8100000D)
EDDSA_KEY, HASH_EDDSA_KEY, X25519_KEY, X25519_PARENT = range(0x8100000D, 0x81000011)
"""The persistent objects. A policy lets MOVABLE_KEY be duplicated, and POLICY_SESSION fulfils it.
SEALED is a child of STORAGE_KEY, all others are Primary Objects."""
HMAC_SESSION, POLICY_SESSION = 0x02000000, 0x03000001
"""HMAC_SESSION has audited a command."""
COUNTER, BITS, EXTENDED, LOCKABLE, APPROVED = range(INDEX + 1, INDEX + 6)
"""NV indices beside INDEX, read and written by the owner. APPROVED holds the policyDigest of
POLICY_SESSION."""
PERSISTENT = range(STORAGE_KEY, X25519_PARENT + 1)
HANDLES = (
    *(SIGNING_KEY, SEQUENCE, 0x80000002, HMAC_SESSION, POLICY_SESSION, *PERSISTENT),
    *(INDEX, COUNTER, BITS, EXTENDED, LOCKABLE, APPROVED, INDEX + 9),
    *(RH.OWNER, RH.ENDORSEMENT, RH.PLATFORM, RH.LOCKOUT, RH.NULL, RH.RS_PW, RH.PLATFORM_NV),
    *(0, 16, 20, 23, 24, 0x81010001, 0x8101000A, 0x40000110, 0x03000040, 0xFFFFFFFF),
)
PARAMETERS = (
    *(b"", b"\0", b"\0\0", b"\0\1", b"\0\0\0\1", words := areas.words(ALG.SHA256), areas.NONE),
    *(sized(bytes(32)), sized(b""), sized(bytes(8)), bytes(4), INDEX.to_bytes(4)),
    *(areas.AES_128_CFB, areas.words(ALG.ECDSA, ALG.SHA256), areas.words(ALG.RSASSA, ALG.SHA256)),
    (1).to_bytes(4) + words + b"\3\7\0\0",
    (1).to_bytes(4) + words + bytes(32),
    areas.words(ST.HASHCHECK) + RH.NULL.to_bytes(4) + sized(b""),
    areas.sensitive_create(b"auth"),
    *(sized(area) for area in (areas.storage(), known_keys.ecc_areas(areas.SIGN)[0])),
    *(sized(areas.mldsa(areas.OWN | areas.SIGN)), sized(bytes(64))),
    *(areas.words(ALG.EDDSA) + sized(bytes(64)), areas.words(ALG.HASH_EDDSA) + sized(bytes(64))),
    sized(octet_keys.octet_areas()[0]),
    sized(sized(b"\x09" + bytes(31)) + sized(b"")),
    sized(known_keys.hmac_areas(areas.SIGN, areas.words(ALG.HMAC, ALG.SHA256))[1]),
    sized(Area(OWNER_RW).marshal()),
    *(handle.to_bytes(4) for handle in HANDLES[:12]),
)
"""Pieces that parameters are made of."""


class Entropy:
    """Octets that look random and are the same in every run."""

    def __init__(self) -> None:
        self._count = 0

    def __call__(self, size: int) -> bytes:
        self._count += 1
        return hashlib.shake_256(self._count.to_bytes(8)).digest(size)


def _persistent() -> dict[int, bytes]:
    """The templates of the persistent Primary Objects."""
    sign, decrypt, own = areas.SIGN, areas.DECRYPT, areas.OWN | areas.NO_DA
    movable = areas.MOVABLE | areas.NO_DA
    ecdaa = areas.words(ALG.ECDAA, ALG.SHA256, 0)
    policy = command_code(CC.DUPLICATE).next(ALG.SHA256, bytes(32))
    curve = ECC_CURVE.CURVE_25519
    ecdh, hkdf = areas.words(ALG.ECDH, ALG.SHA256), areas.words(ALG.HKDF, ALG.SHA256)
    return {
        STORAGE_KEY: areas.storage(),
        RSA_KEY: areas.rsa(own | sign | decrypt),
        HMAC_KEY: areas.keyedhash(own | sign, scheme=areas.words(ALG.HMAC, ALG.SHA256)),
        CIPHER_KEY: areas.symcipher(own | sign | decrypt),
        COMMITTING_KEY: areas.ecc(own | sign, scheme=ecdaa),
        EXCHANGE_KEY: areas.ecc(own | decrypt),
        MOVABLE_KEY: areas.ecc(movable | sign, policy=policy),
        CERTIFYING_KEY: areas.ecc(own | sign | areas.X509_SIGN),
        KEM_KEY: areas.mlkem(own | decrypt),
        MLDSA_KEY: areas.mldsa(own | sign, external_mu=True),
        MLKEM_PARENT: areas.mlkem(own | areas.STORAGE, symmetric=areas.AES_128_CFB),
        EDDSA_KEY: areas.ecc(own | sign, scheme=areas.words(ALG.EDDSA), curve=curve),
        HASH_EDDSA_KEY: areas.ecc(own | sign, scheme=areas.words(ALG.HASH_EDDSA), curve=curve),
        X25519_KEY: areas.ecc(own | decrypt, scheme=ecdh, curve=curve, kdf=hkdf),
        X25519_PARENT: areas.ecc(own | areas.STORAGE, symmetric=areas.AES_128_CFB, curve=curve),
    }


INDICES = (
    *(Area(OWNER_RW), Area(OWNER_RW | of_type(NT.COUNTER), index=COUNTER)),
    *(Area(OWNER_RW | of_type(NT.BITS), index=BITS),),
    Area(OWNER_RW | of_type(NT.EXTEND), 32, EXTENDED),
    Area(OWNER_RW | TPMA_NV.READ_STCLEAR | TPMA_NV.WRITE_STCLEAR, index=LOCKABLE),
    Area(OWNER_RW, 34, APPROVED),
)
SIGNING_TEMPLATE = areas.ecc(areas.OWN | areas.SIGN, scheme=areas.words(ALG.ECDSA, ALG.SHA256))


@cache
@mock.patch("os.urandom", Entropy())
def furnished() -> tuple[bytes, bytes]:
    """Permanent and volatile state of a TPM with keys, sessions, indices and a sequence."""
    peer = EnginePeer.manufactured(entropy=Entropy(), profile="pqc-v1")
    tester = Tester(peer)
    assert tester.startup() == 0
    for handle, template in _persistent().items():
        _persist(tester, areas.loaded_primary(tester, template), handle)
    _persist(tester, areas.loaded_child(tester, STORAGE_KEY, areas.sealed(), data=b"data"), SEALED)
    assert areas.loaded_primary(tester, SIGNING_TEMPLATE) == SIGNING_KEY
    started = tester.run(CC.HASH_SEQUENCE_START, params=sized(b"") + areas.words(ALG.SHA256))
    assert started.handle == SEQUENCE
    session = tester.start_session(SE.HMAC, aes_bits=128)
    assert session.handle == HMAC_SESSION
    session.attributes |= AUDIT
    assert tester.run(CC.GET_RANDOM, params=b"\0\1", auths=[session]).rc == 0
    policy = tester.start_session(SE.POLICY)
    assert policy.handle == POLICY_SESSION
    assert command_code(CC.DUPLICATE).run(tester, policy).rc == 0
    for area in INDICES:
        assert define(tester, area).rc == 0
    approved = areas.words(ALG.SHA256) + policy_digest(tester, policy)
    for index, data in ((INDEX, bytes(8)), (LOCKABLE, bytes(8)), (APPROVED, approved)):
        assert write(tester, data, index=index, by=RH.OWNER).rc == 0
    assert tester.run(CC.EC_EPHEMERAL, params=areas.words(ECC_CURVE.NIST_P256)).rc == 0
    return peer.engine.permanent(), peer.engine.volatile()


def _persist(tester: Tester, handle: int, persistent: int) -> None:
    params = persistent.to_bytes(4)
    assert tester.run(CC.EVICT_CONTROL, [RH.OWNER, handle], params, [Password()]).rc == 0
    areas.flush(tester, handle)


def restored(permanent: bytes, volatile: bytes) -> Engine:
    """A TPM that goes on from two states."""
    engine = Engine.restore(permanent, Entropy(), HostClock())
    engine.power_on(volatile)
    return engine


def check_command(engine: Engine, command: bytes, locality: int) -> None:
    """Run a command and check all that has to hold of its answer."""
    before = encoded_states(engine)
    reply = engine.execute(command, locality)
    assert engine.defect is None, engine.defect
    tag, size, code = struct.unpack_from(">HII", reply.response)
    assert size == len(reply.response) <= 4096
    if not code:
        assert tag == int.from_bytes(command[:2]) in (ST.SESSIONS, ST.NO_SESSIONS)
        return
    assert (tag, size) == (ST.NO_SESSIONS, 10)
    assert unchanged(before, engine)

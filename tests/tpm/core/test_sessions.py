"""Sessions beside authorization: salts, encryption of parameters, nonces, audit, their end.

The caller's side is computed by the harness with hashlib and `cryptography`; every answer's HMAC
is checked there. What is told is compared with hashlib.
"""

import itertools
import struct

import pytest

from tests.tpm import areas, wrapping
from tests.tpm.agreement import session_error
from tests.tpm.harness import (
    AUDIT,
    AUDIT_EXCLUSIVE,
    AUDIT_RESET,
    CONTINUE,
    DECRYPT,
    ENCRYPT,
    Password,
    Result,
    Session,
    Tester,
    digest,
    sized,
)
from tests.tpm.raw import authorization, code_of, with_sessions
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.constants import ALG, CC, RH, SE

Both = tuple[Tester, Tester]

SECRET = b"secret"
MESSAGE = b"a message of more than one block of a cipher, and odd"
CIPHERS: list[dict[str, int]] = [{"aes_bits": 128}, {"aes_bits": 256}, {"xor": True}]
HASH_ALGS = (ALG.SHA1, ALG.SHA256, ALG.SHA384, ALG.SHA512)
HASH_OF_MESSAGE = digest(ALG.SHA256, MESSAGE)


def hash_message(tester: Tester, *sessions: Session) -> Result:
    """TPM2_Hash: the first parameter of command and response is a TPM2B, and no handle."""
    params = sized(MESSAGE) + ALG.SHA256.to_bytes(2) + RH.NULL.to_bytes(4)
    return tester.run(CC.HASH, params=params, auths=sessions)


def sealed_primary(tester: Tester) -> int:
    template = areas.sealed(areas.FIXED | areas.USER_AUTH | areas.NO_DA)
    return areas.loaded_primary(tester, template, auth=SECRET, data=MESSAGE)


@pytest.mark.parametrize("cipher", CIPHERS, ids=str)
@pytest.mark.parametrize("alg", HASH_ALGS)
@pytest.mark.parametrize("attributes", [DECRYPT, ENCRYPT, DECRYPT | ENCRYPT])
def test_encryption_without_authorization(
    both: Both, cipher: dict[str, int], alg: ALG, attributes: int
) -> None:
    for tester in both:
        session = tester.start_session(alg=alg, **cipher)  # type: ignore[arg-type]
        session.attributes = CONTINUE | attributes
        for _ in range(2):
            answer = hash_message(tester, session)
            assert (answer.rc, answer.sized()) == (0, HASH_OF_MESSAGE)


@pytest.mark.parametrize("cipher", CIPHERS, ids=str)
@pytest.mark.parametrize("bound", [False, True], ids=["unbound", "bound"])
def test_the_auth_value_takes_part_in_encryption(
    both: Both, cipher: dict[str, int], bound: bool
) -> None:
    """That of the authorized entity, proven or bound."""
    for tester in both:
        handle = sealed_primary(tester)
        if bound:
            session = tester.start_session(
                bind=handle,
                bind_auth=SECRET,
                **cipher,  # type: ignore[arg-type]
            )
            session.proves_auth_value = False
        else:
            session = tester.start_session(**cipher)  # type: ignore[arg-type]
        session.auth_value = SECRET
        session.attributes = CONTINUE | ENCRYPT
        answer = tester.run(CC.UNSEAL, [handle], auths=[session])
        assert (answer.rc, answer.sized()) == (0, MESSAGE)


@pytest.mark.parametrize("cipher", CIPHERS, ids=str)
def test_new_auth_values_arrive_encrypted(both: Both, cipher: dict[str, int]) -> None:
    for tester in both:
        session = tester.start_session(**cipher)  # type: ignore[arg-type]
        for old, new in ((b"", SECRET), (SECRET, b"another"), (b"another", b"")):
            session.attributes = CONTINUE | DECRYPT
            session.auth_value, session.next_auth_value = old, new
            params = sized(new)
            assert tester.run(CC.HIERARCHY_CHANGE_AUTH, [RH.OWNER], params, [session]).rc == 0


@pytest.mark.parametrize("kind", ["rsa", "ecc"])
@pytest.mark.parametrize("alg", HASH_ALGS)
def test_salted_sessions(both: Both, kind: str, alg: ALG) -> None:
    attributes = areas.OWN | areas.STORAGE
    make = areas.rsa if kind == "rsa" else areas.ecc
    for tester in both:
        created = areas.create_primary(tester, make(attributes, symmetric=areas.AES_128_CFB))
        assert created.handle is not None
        salt, encrypted = wrapping.share_with(created.sized(), b"SECRET")
        session = tester.start_session(
            alg=alg, salt=salt, salt_key=created.handle, encrypted_salt=encrypted, aes_bits=256
        )
        session.attributes = CONTINUE | DECRYPT | ENCRYPT
        answer = hash_message(tester, session)
        assert (answer.rc, answer.sized()) == (0, HASH_OF_MESSAGE)
        session.attributes = CONTINUE
        policy = b"\x00\x00\x00\x10"
        assert tester.run(CC.SET_PRIMARY_POLICY, [RH.OWNER], policy, [session]).rc == 0


def test_salted_and_bound(both: Both) -> None:
    for tester in both:
        created = areas.create_primary(tester, areas.storage())
        assert created.handle is not None
        handle = sealed_primary(tester)
        salt, encrypted = wrapping.share_with(created.sized(), b"SECRET")
        session = tester.start_session(
            bind=handle,
            bind_auth=SECRET,
            salt=salt,
            salt_key=created.handle,
            encrypted_salt=encrypted,
            xor=True,
        )
        session.attributes = CONTINUE | ENCRYPT
        session.auth_value, session.proves_auth_value = SECRET, False
        answer = tester.run(CC.UNSEAL, [handle], auths=[session])
        assert (answer.rc, answer.sized()) == (0, MESSAGE)


@pytest.mark.parametrize("order", list(itertools.permutations([DECRYPT, ENCRYPT, AUDIT])))
def test_three_sessions_beside_each_other(both: Both, order: tuple[int, ...]) -> None:
    for tester in both:
        sessions = [tester.start_session(aes_bits=128) for _ in order]
        for _ in range(2):
            for session, use in zip(sessions, order, strict=True):
                session.attributes = CONTINUE | use
            answer = hash_message(tester, *sessions)
            assert (answer.rc, answer.sized()) == (0, HASH_OF_MESSAGE)


@pytest.mark.parametrize("second", [DECRYPT, ENCRYPT, DECRYPT | ENCRYPT])
@pytest.mark.parametrize("third", [AUDIT, ENCRYPT | AUDIT, DECRYPT])
def test_the_first_session_covers_the_nonces_of_the_others(
    both: Both, second: int, third: int
) -> None:
    """It authorizes; the others encrypt. A nonce changed on the way breaks its HMAC."""
    if second & third:
        return
    for tester in both:
        first = tester.start_session()
        others = [tester.start_session(aes_bits=128), tester.start_session(aes_bits=256)]
        _hierarchy_auth(tester, SECRET)
        first.auth_value = SECRET
        others[0].attributes, others[1].attributes = CONTINUE | second, CONTINUE | third
        template = areas.create_parameters(areas.storage(), data=b"")
        created = tester.run(CC.CREATE_PRIMARY, [RH.OWNER], template, [first, *others])
        assert created.rc == 0
        assert created.handle is not None
        areas.flush(tester, created.handle)
        others[0].nonce_tpm = bytes(16)
        refused = tester.run(CC.CREATE_PRIMARY, [RH.OWNER], template, [first, *others])
        assert refused.rc == session_error(RC.BAD_AUTH, 1)


@pytest.mark.parametrize("third", [DECRYPT, ENCRYPT, DECRYPT | ENCRYPT])
def test_the_second_session_covers_its_own_nonce_only(both: Both, third: int) -> None:
    """Though it authorizes as well: the nonces of the others are in the first HMAC."""
    scheme = areas.words(ALG.ECDSA, ALG.SHA256)
    for tester in both:
        template = areas.ecc(areas.OWN | areas.SIGN | areas.NO_DA)
        key = areas.loaded_primary(tester, template, auth=SECRET)
        first, second, other = (tester.start_session(aes_bits=128) for _ in range(3))
        second.auth_value, other.attributes = SECRET, CONTINUE | third
        handles, params = [RH.ENDORSEMENT, key], sized(b"nonce") + scheme
        attested = tester.run(CC.GET_TIME, handles, params, [first, second, other])
        assert attested.rc == 0
        assert sized(b"nonce") in attested.sized()


def test_a_policy_session_does_not_audit(both: Both) -> None:
    for tester in both:
        session = tester.start_session(SE.POLICY)
        session.attributes = CONTINUE | AUDIT
        assert hash_message(tester, session).rc == session_error(RC.ATTRIBUTES, 1)


def _hierarchy_auth(tester: Tester, auth: bytes) -> None:
    changed = tester.run(CC.HIERARCHY_CHANGE_AUTH, [RH.OWNER], sized(auth), [Password()])
    assert changed.rc == 0


def test_wrong_hmacs_have_their_position(both: Both) -> None:
    for tester, wrong in itertools.product(both, range(3)):
        sessions = [tester.start_session(bind=RH.OWNER, aes_bits=128) for _ in range(3)]
        for session, use in zip(sessions, (DECRYPT, ENCRYPT, AUDIT), strict=True):
            session.attributes = CONTINUE | use
        sessions[wrong].tamper = True
        assert hash_message(tester, *sessions).rc == session_error(RC.BAD_AUTH, wrong + 1)
        for session in sessions:
            areas.flush(tester, session.handle)


def test_a_policy_session_carries_encryption(both: Both) -> None:
    policy = digest(ALG.SHA256, bytes(32) + CC.POLICY_AUTH_VALUE.to_bytes(4))
    template = areas.keyedhash(areas.FIXED | areas.NO_DA, policy=policy)
    for tester in both:
        handle = areas.loaded_primary(tester, template, auth=SECRET, data=MESSAGE)
        session = tester.start_session(SE.POLICY, aes_bits=128)
        session.auth_value = SECRET
        session.attributes = CONTINUE | ENCRYPT
        for _ in range(2):
            assert tester.run(CC.POLICY_AUTH_VALUE, [session.handle]).rc == 0
            answer = tester.run(CC.UNSEAL, [handle], auths=[session])
            assert (answer.rc, answer.sized()) == (0, MESSAGE)
        refused = tester.run(CC.UNSEAL, [handle], auths=[session])
        assert refused.rc == session_error(RC.POLICY_FAIL, 1)


def test_a_policy_with_password_has_no_hmac(both: Both) -> None:
    policy = digest(ALG.SHA256, bytes(32) + CC.POLICY_AUTH_VALUE.to_bytes(4))
    template = areas.keyedhash(areas.FIXED | areas.NO_DA, policy=policy)
    for tester in both:
        handle = areas.loaded_primary(tester, template, auth=SECRET, data=MESSAGE)
        session = tester.start_session(SE.POLICY)
        assert tester.run(CC.POLICY_PASSWORD, [session.handle]).rc == 0
        session.password = b"wrong"
        assert tester.run(CC.UNSEAL, [handle], auths=[session]).rc == session_error(RC.BAD_AUTH, 1)
        session.password = SECRET
        assert tester.run(CC.UNSEAL, [handle], auths=[session]).sized() == MESSAGE


@pytest.mark.parametrize(
    ("params", "rc"),
    [
        (b"", RC.INSUFFICIENT),
        (b"\x00", RC.INSUFFICIENT),
        (b"\x00\x01", RC.SIZE),
        (b"\x00\x64" + bytes(16), RC.SIZE),
        (b"\xff\xff" + bytes(16), RC.SIZE),
    ],
)
def test_an_encrypted_parameter_that_is_cut_short(both: Both, params: bytes, rc: int) -> None:
    for tester in both:
        session = tester.start_session(xor=True)
        use = authorization(session.handle, bytes(16), CONTINUE | DECRYPT)
        answer = tester.raw(with_sessions(CC.STIR_RANDOM, b"", [use], params))
        assert code_of(answer) == session_error(rc, 1)


@pytest.mark.parametrize("alg", HASH_ALGS)
def test_xor_takes_the_hash_of_the_session(both: Both, alg: ALG) -> None:
    """And not the one that comes with TPM_ALG_XOR (Part 1, 18.2)."""
    for tester, xor_hash in itertools.product(both, HASH_ALGS):
        symmetric = areas.words(ALG.XOR, xor_hash)
        params = sized(bytes(16)) + sized(b"") + bytes((SE.HMAC,)) + symmetric + areas.words(alg)
        started = tester.run(CC.START_AUTH_SESSION, [RH.NULL, RH.NULL], params)
        assert started.handle is not None
        session = Session(started.handle, alg, started.sized(), b"")
        session.attributes = DECRYPT | ENCRYPT
        assert hash_message(tester, session).sized() == HASH_OF_MESSAGE


def test_sessions_end_when_they_are_not_continued(both: Both) -> None:
    for tester in both:
        session = tester.start_session(xor=True)
        session.attributes = ENCRYPT
        assert hash_message(tester, session).sized() == HASH_OF_MESSAGE
        assert session.response_attributes == ENCRYPT
        assert hash_message(tester, session).rc == RC.REFERENCE_S0
        failing = tester.start_session()
        failing.attributes = 0
        failing.auth_value = b"wrong"
        policy = b"\x00\x00\x00\x10"
        refused = tester.run(CC.SET_PRIMARY_POLICY, [RH.OWNER], policy, [failing])
        assert refused.rc == session_error(RC.BAD_AUTH, 1)
        failing.auth_value = b""
        assert tester.run(CC.SET_PRIMARY_POLICY, [RH.OWNER], policy, [failing]).rc == 0
        refused = tester.run(CC.SET_PRIMARY_POLICY, [RH.OWNER], policy, [failing])
        assert refused.rc == RC.REFERENCE_S0


def test_nonces_are_fresh(both: Both) -> None:
    for tester in both:
        session = tester.start_session()
        session.attributes = CONTINUE | AUDIT
        seen = {session.nonce_tpm}
        for _ in range(10):
            assert hash_message(tester, session).rc == 0
            seen.add(session.nonce_tpm)
        assert len(seen) == 11


class Auditor:
    """An audit session and the digest it must have (Part 1, 17.1)."""

    def __init__(self, tester: Tester, alg: ALG = ALG.SHA256) -> None:
        self.tester, self.alg = tester, alg
        self.session = tester.start_session(alg=alg)
        self.digest = bytes(len(digest(alg)))

    def run(self, attributes: int = 0) -> int:
        """TPM2_Hash, audited; its response code."""
        self.session.attributes = CONTINUE | AUDIT | attributes
        answer = hash_message(self.tester, self.session)
        if answer.rc == 0:
            if attributes & AUDIT_RESET:
                self.digest = bytes(len(self.digest))
            code = CC.HASH.to_bytes(4)
            params = sized(MESSAGE) + ALG.SHA256.to_bytes(2) + RH.NULL.to_bytes(4)
            cp_hash = digest(self.alg, code, params)
            rp_hash = digest(self.alg, bytes(4), code, answer.parameters)
            self.digest = digest(self.alg, self.digest, cp_hash, rp_hash)
        return answer.rc

    @property
    def exclusive(self) -> bool:
        """Whether the last response said so."""
        return bool(self.session.response_attributes & AUDIT_EXCLUSIVE)

    def reported(self) -> bytes:
        """sessionDigest of TPM2_GetSessionAuditDigest, not signed."""
        handles = [RH.ENDORSEMENT, RH.NULL, self.session.handle]
        params = sized(b"") + areas.NONE
        auths = [Password(), Password()]
        answer = self.tester.run(CC.GET_SESSION_AUDIT_DIGEST, handles, params, auths)
        assert answer.rc == 0
        return answer.sized()[-len(self.digest) :]


@pytest.mark.parametrize("alg", HASH_ALGS)
def test_the_audit_digest(both: Both, alg: ALG) -> None:
    for tester in both:
        auditor = Auditor(tester, alg)
        for attributes in (0, 0, AUDIT_RESET, 0, AUDIT_EXCLUSIVE):
            assert auditor.run(attributes) == 0
            assert auditor.exclusive
        assert auditor.reported() == auditor.digest


def test_exclusive_until_somebody_else_is_served(both: Both) -> None:
    for tester in both:
        auditor = Auditor(tester)
        assert auditor.run() == 0
        context = tester.run(CC.CONTEXT_SAVE, [auditor.session.handle])
        assert tester.run(CC.CONTEXT_LOAD, params=context.parameters).rc == 0
        assert tester.run(CC.PCR_RESET, [0], auths=[Password()]).rc == RC.LOCALITY
        assert auditor.run(AUDIT_EXCLUSIVE) == 0
        assert tester.run(CC.GET_RANDOM, params=b"\x00\x08").rc == 0
        assert auditor.run(AUDIT_EXCLUSIVE) == RC.EXCLUSIVE
        assert auditor.run() == 0
        assert not auditor.exclusive
        assert auditor.run(AUDIT_EXCLUSIVE) == RC.EXCLUSIVE
        assert auditor.run(AUDIT_RESET | AUDIT_EXCLUSIVE) == 0
        assert auditor.exclusive
        assert auditor.reported() == auditor.digest


def test_one_session_is_exclusive(both: Both) -> None:
    for tester in both:
        first, second = Auditor(tester), Auditor(tester)
        assert first.run() == 0
        assert second.run() == 0
        assert second.exclusive
        assert first.run(AUDIT_EXCLUSIVE) == RC.EXCLUSIVE
        assert first.run() == 0
        assert not first.exclusive
        assert second.run() == 0
        assert not second.exclusive
        assert (first.reported(), second.reported()) == (first.digest, second.digest)


def test_audited_names_are_those_before_the_command(both: Both) -> None:
    """The first write changes an index' Name: cpHash has the one the caller knew."""
    index = 0x01500000
    attributes = 1 << 2 | 1 << 18 | 1 << 25  # AUTHWRITE, AUTHREAD, NO_DA
    public = struct.pack(">IHI", index, ALG.SHA256, attributes) + sized(b"") + areas.words(8)
    params = sized(bytes(8)) + areas.words(0)
    for tester in both:
        defined = tester.run(
            CC.NV_DEFINE_SPACE, [RH.OWNER], sized(b"") + sized(public), [Password()]
        )
        assert defined.rc == 0
        name = tester.name(index)
        auditor = Auditor(tester)
        auditor.session.attributes = CONTINUE | AUDIT
        written = tester.run(CC.NV_WRITE, [index, index], params, [auditor.session])
        assert written.rc == 0
        assert tester.name(index) != name
        code = CC.NV_WRITE.to_bytes(4)
        cp_hash = digest(ALG.SHA256, code, name, name, params)
        rp_hash = digest(ALG.SHA256, bytes(4), code)
        assert auditor.reported() == digest(ALG.SHA256, bytes(32), cp_hash, rp_hash)


def test_a_bound_session_that_audits_is_bound_no_more(both: Both) -> None:
    for tester in both:
        _hierarchy_auth(tester, SECRET)
        session = tester.start_session(bind=RH.OWNER, bind_auth=SECRET)
        session.attributes = CONTINUE | AUDIT
        policy = b"\x00\x00\x00\x10"
        assert tester.run(CC.SET_PRIMARY_POLICY, [RH.OWNER], policy, [session]).rc == 0
        refused = tester.run(CC.SET_PRIMARY_POLICY, [RH.OWNER], policy, [session])
        assert refused.rc == session_error(RC.BAD_AUTH, 1)
        session.auth_value = SECRET
        assert tester.run(CC.SET_PRIMARY_POLICY, [RH.OWNER], policy, [session]).rc == 0

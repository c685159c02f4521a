"""PolicySigned, PolicySecret, PolicyTicket and PolicyAuthorize, with keys of `cryptography`."""

import hashlib
import hmac
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, padding, utils
from cryptography.hazmat.primitives.hashes import SHA256

from tests.tpm import areas
from tests.tpm.agreement import handle_error, parameter_error, session_error
from tests.tpm.commands.nv_area import INDEX, OWNER_RW, Area, define, read, write
from tests.tpm.commands.policy_steps import (
    AUTH_VALUE,
    PASSWORD,
    bound,
    command_code,
    flush,
    policy_digest,
    policy_of,
    secret,
    session_with,
    updated,
)
from tests.tpm.harness import EnginePeer, Password, Result, Session, Tester, digest, sized
from tests.tpm.known_keys import HMAC_KEY, ecc_areas, ecc_key, hmac_areas, rsa_areas, rsa_key
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.attributes import TPMA_NV
from vtpmd.tpm.wire.constants import ALG, CC, ECC_CURVE, RH, SE, ST

SIGN = areas.SIGN
EC_KEY, RSA_KEY = ecc_key(ECC_CURVE.NIST_P256), rsa_key(2048)
REFERENCE = b"what for"
NO_TICKET = bytes(2) + ST.AUTH_SIGNED.to_bytes(2) + RH.NULL.to_bytes(4) + bytes(2)


def signature(alg: int, octets: bytes, hash_alg: int = ALG.SHA256) -> bytes:
    """TPMT_SIGNATURE."""
    return areas.words(alg, hash_alg) + octets


def by_ecdsa(message: bytes) -> bytes:
    """A signature of `ecc_key`."""
    r, s = utils.decode_dss_signature(EC_KEY.sign(message, ec.ECDSA(SHA256())))
    return signature(ALG.ECDSA, sized(r.to_bytes(32)) + sized(s.to_bytes(32)))


def by_rsassa(message: bytes) -> bytes:
    """A signature of `rsa_key`."""
    return signature(ALG.RSASSA, sized(RSA_KEY.sign(message, padding.PKCS1v15(), SHA256())))


def by_rsapss(message: bytes) -> bytes:
    """Another signature of `rsa_key`."""
    pss = padding.PSS(padding.MGF1(SHA256()), padding.PSS.MAX_LENGTH)
    return signature(ALG.RSAPSS, sized(RSA_KEY.sign(message, pss, SHA256())))


def by_hmac(message: bytes) -> bytes:
    """A MAC, which a TPM makes of a digest."""
    hashed = hashlib.sha256(message).digest()
    return signature(ALG.HMAC, hmac.digest(HMAC_KEY, hashed, "sha256"))


Signer = Callable[[bytes], bytes]
KEYS: list[tuple[tuple[bytes, bytes], Signer]] = [
    (ecc_areas(SIGN), by_ecdsa),
    (rsa_areas(SIGN), by_rsassa),
    (rsa_areas(SIGN), by_rsapss),
    (hmac_areas(SIGN, areas.words(ALG.HMAC, ALG.SHA256)), by_hmac),
]
EC, EC_SIGNER = KEYS[0]


def load(tester: Tester, key: tuple[bytes, bytes], *, public_only: bool = False) -> int:
    """TPM2_LoadExternal; public parts only may belong to the owner's hierarchy."""
    public, private = key
    loaded = (
        areas.load_external(tester, public, hierarchy=RH.OWNER)
        if public_only
        else areas.load_external(tester, public, private)
    )
    assert loaded.handle is not None, hex(loaded.rc)
    return loaded.handle


def signed(
    tester: Tester,
    session: Session,
    key: int,
    signer: Signer,
    *,
    nonce: bytes = b"",
    cp_hash: bytes = b"",
    reference: bytes = REFERENCE,
    expiration: int = 0,
    claimed_reference: bytes | None = None,
) -> Result:
    """TPM2_PolicySigned."""
    expires = expiration.to_bytes(4, signed=True)
    auth = signer(nonce + expires + cp_hash + reference)
    if claimed_reference is not None:
        reference = claimed_reference
    params = sized(nonce) + sized(cp_hash) + sized(reference) + expires + auth
    return tester.run(CC.POLICY_SIGNED, [key, session.handle], params)


@pytest.mark.parametrize("number", range(len(KEYS)))
@pytest.mark.parametrize("alg", [ALG.SHA1, ALG.SHA256, ALG.SHA512])
def test_signatures_of_every_kind(both: tuple[Tester, Tester], number: int, alg: ALG) -> None:
    key, signer = KEYS[number]
    name = areas.name_of(key[0])
    expected = updated(alg, bytes(len(digest(alg))), CC.POLICY_SIGNED, name, REFERENCE)
    for tester in both:
        handle = load(tester, key)
        session = tester.start_session(SE.POLICY, alg=alg)
        answer = signed(tester, session, handle, signer)
        assert answer.rc == 0
        assert answer.parameters == NO_TICKET
        assert policy_digest(tester, session) == expected
        wrong = signed(tester, session, handle, signer, claimed_reference=b"something else")
        assert wrong.rc == parameter_error(RC.SIGNATURE, 5)
        assert policy_digest(tester, session) == expected


def test_signatures_by_the_wrong_kind_of_key(both: tuple[Tester, Tester]) -> None:
    for key, _ in KEYS:
        rcs = []
        for tester in both:
            handle = load(tester, key)
            session = tester.start_session(SE.POLICY)
            rcs.append([signed(tester, session, handle, signer).rc for _, signer in KEYS])
            assert 0 in rcs[-1]
            flush(tester, session)
            areas.flush(tester, handle)
        assert rcs[0] == rcs[1]


def test_signatures_no_one_made(both: tuple[Tester, Tester]) -> None:
    bad = [
        areas.words(ALG.NULL),
        areas.words(ALG.ECDSA, ALG.NULL) + sized(bytes(32)) * 2,
        areas.words(ALG.ECDSA, ALG.SHA256) + sized(bytes(32)) * 2,
        areas.words(ALG.ECDSA, ALG.SHA256) + sized(b"") * 2,
        areas.words(ALG.ECDAA, ALG.SHA256) + sized(bytes(32)) * 2,
        areas.words(ALG.ECDSA, ALG.SHA256) + sized(b"\xff" * 32) * 2,
        areas.words(ALG.RSAES),
        b"",
    ]
    for auth in bad:
        rcs = []
        for tester in both:
            handle = load(tester, EC)
            session = tester.start_session(SE.POLICY)
            answer = signed(tester, session, handle, lambda _, octets=auth: octets)  # type: ignore[misc]
            rcs.append(answer.rc)
            assert policy_digest(tester, session) == bytes(32)
            flush(tester, session)
            areas.flush(tester, handle)
        assert rcs[0] == rcs[1] != 0, auth.hex()


def test_a_trial_session_needs_no_signature(both: tuple[Tester, Tester]) -> None:
    expected = updated(ALG.SHA256, bytes(32), CC.POLICY_SIGNED, areas.name_of(EC[0]), REFERENCE)
    for tester in both:
        handle = load(tester, EC, public_only=True)
        session = tester.start_session(SE.TRIAL)
        forged = signed(tester, session, handle, lambda _: by_ecdsa(b""), expiration=-5)
        assert (forged.rc, forged.parameters[:2]) == (0, bytes(2))
        assert policy_digest(tester, session) == expected


CP_HASH = bytes(range(32))


@pytest.mark.parametrize("way", [CC.POLICY_SIGNED, CC.POLICY_SECRET])
def test_a_trial_session_has_no_qualifiers_to_check(both: tuple[Tester, Tester], way: int) -> None:
    """Nonce, cpHashA and expiration are taken as they are: only the Name and policyRef count."""
    name = RH.OWNER.to_bytes(4) if way == CC.POLICY_SECRET else areas.name_of(EC[0])
    expected = updated(ALG.SHA256, bytes(32), way, name, REFERENCE)
    no_ticket = NO_TICKET
    if way == CC.POLICY_SECRET:
        no_ticket = NO_TICKET.replace(areas.words(ST.AUTH_SIGNED), areas.words(ST.AUTH_SECRET), 1)
    for tester in both:
        for qualifiers in (
            {"nonce": bytes(16)},
            {"cp_hash": bytes(20)},
            {"expiration": 1},
            {"expiration": -1},
        ):
            session = tester.start_session(SE.TRIAL)
            answer = authorize(tester, way, session, reference=REFERENCE, **qualifiers)
            assert (answer.rc, answer.parameters) == (0, no_ticket), qualifiers
            assert policy_digest(tester, session) == expected
            flush(tester, session)


def authorize(tester: Tester, way: int, session: Session, **qualifiers: bytes | int) -> Result:
    """PolicySigned or PolicySecret with the same qualifiers."""
    if way == CC.POLICY_SECRET:
        return secret(tester, session, **qualifiers)  # type: ignore[arg-type]
    handle = load(tester, EC)
    answer = signed(tester, session, handle, EC_SIGNER, **qualifiers)  # type: ignore[arg-type]
    areas.flush(tester, handle)
    return answer


@pytest.mark.parametrize("way", [CC.POLICY_SIGNED, CC.POLICY_SECRET])
def test_qualifiers(both: tuple[Tester, Tester], way: int) -> None:
    def nonce_of(session: Session) -> bytes:
        return session.nonce_tpm

    qualifiers: list[tuple[bool, dict[str, bytes | int], int]] = [
        (False, {}, 0),
        (True, {}, 0),
        (False, {"nonce": bytes(16)}, parameter_error(RC.NONCE, 1)),
        (False, {"nonce": b"\0"}, parameter_error(RC.NONCE, 1)),
        (False, {"cp_hash": CP_HASH}, 0),
        (False, {"cp_hash": CP_HASH[:20]}, parameter_error(RC.SIZE, 2)),
        (False, {"expiration": 1000}, 0),
        (True, {"expiration": 1000}, 0),
        (True, {"expiration": -1000}, 0),
        (False, {"expiration": -0x80000000}, 0),
        (False, {"expiration": 0x7FFFFFFF, "cp_hash": CP_HASH}, 0),
    ]
    for with_nonce, given, rc in qualifiers:
        for tester in both:
            session = tester.start_session(SE.POLICY)
            if with_nonce:
                given = {**given, "nonce": nonce_of(session)}
            assert authorize(tester, way, session, **given).rc == rc
            assert (policy_digest(tester, session) == bytes(32)) == bool(rc)
            flush(tester, session)
    bound_before = [
        (bound(CC.POLICY_CP_HASH, CP_HASH), 0),
        (bound(CC.POLICY_CP_HASH, bytes(32)), RC.CPHASH),
        (bound(CC.POLICY_NAME_HASH, bytes(32)), RC.CPHASH),
        (bound(CC.POLICY_TEMPLATE, bytes(32)), RC.CPHASH),
    ]
    for assertion, rc in bound_before:
        for tester in both:
            session = session_with(tester, assertion)
            assert authorize(tester, way, session, cp_hash=CP_HASH).rc == rc
            flush(tester, session)


@pytest.mark.parametrize("way", [CC.POLICY_SIGNED, CC.POLICY_SECRET])
def test_a_command_hash_limits_the_session(both: tuple[Tester, Tester], way: int) -> None:
    for tester in both:
        session = tester.start_session(SE.POLICY)
        assert authorize(tester, way, session, cp_hash=CP_HASH).rc == 0
        other = bound(CC.POLICY_CP_HASH, bytes(32))
        assert other.run(tester, session).rc == RC.CPHASH
        assert bound(CC.POLICY_CP_HASH, CP_HASH).run(tester, session).rc == 0


@pytest.mark.parametrize("entity", [RH.OWNER, RH.ENDORSEMENT, RH.PLATFORM, RH.LOCKOUT, 0, INDEX])
def test_secrets_of_every_kind(both: tuple[Tester, Tester], entity: int) -> None:
    area = Area(OWNER_RW | TPMA_NV.AUTHREAD | TPMA_NV.NO_DA)
    name = area.name() if entity == INDEX else entity.to_bytes(4)
    expected = updated(ALG.SHA256, bytes(32), CC.POLICY_SECRET, name, REFERENCE)
    for tester in both:
        assert define(tester, area, auth=b"index").rc == 0
        auth = Password(b"index" if entity == INDEX else b"")
        for kind in (SE.POLICY, SE.TRIAL):
            session = tester.start_session(kind)
            wrong = secret(tester, session, entity=entity, auth=Password(b"wrong"))
            if entity == RH.LOCKOUT:
                # One failure, and lockoutAuth is of no use any more.
                assert wrong.rc == session_error(RC.AUTH_FAIL, 1)
                assert secret(tester, session, entity=entity).rc == RC.LOCKOUT
                break
            assert wrong.rc == session_error(RC.BAD_AUTH, 1)
            assert policy_digest(tester, session) == bytes(32)
            answer = secret(tester, session, entity=entity, auth=auth, reference=REFERENCE)
            assert answer.rc == 0
            assert policy_digest(tester, session) == expected
            flush(tester, session)


def test_a_secret_has_to_be_given(both: tuple[Tester, Tester]) -> None:
    """A policy session for the secret's entity has to prove its authValue (RC.MODE)."""
    code = command_code(CC.POLICY_SECRET)
    for assertions, rc in (([code], RC.MODE), ([code, AUTH_VALUE], 0), ([code, PASSWORD], 0)):
        policy = policy_of(ALG.SHA256, *assertions)
        area = Area(OWNER_RW | TPMA_NV.POLICYREAD | TPMA_NV.NO_DA, policy=policy)
        for tester in both:
            assert define(tester, area, auth=b"index").rc == 0
            proof = session_with(tester, *assertions)
            if assertions[-1] is PASSWORD:
                proof.password = b"index"
            elif assertions[-1] is AUTH_VALUE:
                proof.auth_value = b"index"
            session = tester.start_session(SE.POLICY)
            found = secret(tester, session, entity=INDEX, auth=proof)
            assert found.rc == (session_error(rc, 1) if rc else 0)
            if rc == 0:
                # Having authorized something, the session starts anew.
                assert policy_digest(tester, proof) == bytes(32)
            flush(tester, proof)
            flush(tester, session)
            undefined = tester.run(CC.NV_UNDEFINE_SPACE, [RH.OWNER, INDEX], auths=[Password()])
            assert undefined.rc == 0


def redeem(
    tester: Tester, session: Session, name: bytes, answer: Result, **changed: bytes
) -> Result:
    """TPM2_PolicyTicket with what an authorization returned."""
    timeout = answer.sized()
    ticket = changed.get("ticket", answer.parameters[2 + len(timeout) :])
    params = (
        sized(changed.get("timeout", timeout))
        + sized(changed.get("cp_hash", b""))
        + sized(changed.get("reference", REFERENCE))
        + sized(changed.get("auth_name", name))
        + ticket
    )
    return tester.run(CC.POLICY_TICKET, [session.handle], params)


def ticketed(
    tester: Tester, way: int, *, absolute: bool, expiration: int = -100
) -> tuple[bytes, Result]:
    """An authorization with a ticket: the Name, and the answer."""
    session = tester.start_session(SE.POLICY)
    nonce = b"" if absolute else session.nonce_tpm
    answer = authorize(
        tester, way, session, nonce=nonce, reference=REFERENCE, expiration=expiration
    )
    assert answer.rc == 0
    flush(tester, session)
    name = RH.OWNER.to_bytes(4) if way == CC.POLICY_SECRET else areas.name_of(EC[0])
    return name, answer


WAYS = pytest.mark.parametrize("way", [CC.POLICY_SIGNED, CC.POLICY_SECRET])
BASES = pytest.mark.parametrize("absolute", [True, False])


@WAYS
@BASES
def test_tickets(both: tuple[Tester, Tester], way: int, absolute: bool) -> None:
    tag = ST.AUTH_SECRET if way == CC.POLICY_SECRET else ST.AUTH_SIGNED
    other_tag = ST.AUTH_SIGNED if way == CC.POLICY_SECRET else ST.AUTH_SECRET
    hierarchy = RH.OWNER if way == CC.POLICY_SECRET else RH.NULL
    for tester in both:
        name, answer = ticketed(tester, way, absolute=absolute)
        timeout = answer.sized()
        ticket = answer.parameters[10:]
        assert len(timeout) == 8
        assert bool(timeout[0] & 0x80) == absolute
        assert ticket[:6] == tag.to_bytes(2) + hierarchy.to_bytes(4)
        session = tester.start_session(SE.POLICY)
        assert redeem(tester, session, name, answer).rc == 0
        accepted = updated(ALG.SHA256, bytes(32), way, name, REFERENCE)
        assert policy_digest(tester, session) == accepted
        refused = parameter_error(RC.TICKET, 5)
        later = (int.from_bytes(timeout) + 1).to_bytes(8)
        null = other_tag.to_bytes(2) + RH.NULL.to_bytes(4) + bytes(2)
        zero = ticket[:6] + sized(bytes(len(ticket) - 8))
        changes: list[tuple[dict[str, bytes], int]] = [
            ({"timeout": later}, refused),
            ({"timeout": bytes((timeout[0] ^ 0x80,)) + timeout[1:]}, refused),
            ({"timeout": timeout[1:]}, parameter_error(RC.SIZE, 1)),
            ({"timeout": b""}, parameter_error(RC.SIZE, 1)),
            ({"timeout": bytes(8)}, refused),
            ({"timeout": (1).to_bytes(8)}, refused),
            ({"cp_hash": bytes(32)}, refused),
            ({"cp_hash": bytes(20)}, parameter_error(RC.SIZE, 2)),
            ({"reference": b""}, refused),
            ({"auth_name": RH.PLATFORM.to_bytes(4)}, refused),
            ({"ticket": other_tag.to_bytes(2) + ticket[2:]}, refused),
            ({"ticket": ticket[:2] + RH.PLATFORM.to_bytes(4) + ticket[6:]}, refused),
            ({"ticket": ticket[:-1] + bytes((ticket[-1] ^ 1,))}, refused),
            ({"ticket": zero}, refused),
            ({"ticket": null}, refused),
            ({"ticket": ticket[:6] + bytes(2)}, refused),
            ({"ticket": ST.HASHCHECK.to_bytes(2) + ticket[2:]}, parameter_error(RC.TAG, 5)),
        ]
        for changed, rc in changes:
            found = redeem(tester, session, name, answer, **changed).rc
            if changed.get("timeout") == (1).to_bytes(8):
                assert found in (refused, parameter_error(RC.EXPIRED, 1))
            else:
                assert found == rc, changed
            assert policy_digest(tester, session) == accepted
        trial = tester.start_session(SE.TRIAL)
        assert redeem(tester, trial, name, answer).rc == handle_error(RC.ATTRIBUTES, 1)


@WAYS
@BASES
def test_tickets_end(tester: Tester, engine_peer: EnginePeer, way: int, absolute: bool) -> None:
    engine_peer.clock.milliseconds += 500
    name, answer = ticketed(tester, way, absolute=absolute)
    session = tester.start_session(SE.POLICY)
    engine_peer.clock.milliseconds += 99_500
    assert redeem(tester, session, name, answer).rc == 0
    engine_peer.clock.milliseconds += 1000
    assert redeem(tester, session, name, answer).rc == parameter_error(RC.EXPIRED, 1)


def readable_with(tester: Tester, way: int, name: bytes) -> None:
    """Define and write an index that an authorization by `name` lets read."""
    policy = updated(ALG.SHA256, bytes(32), way, name, REFERENCE)
    area = Area(OWNER_RW | TPMA_NV.POLICYREAD | TPMA_NV.NO_DA, policy=policy)
    assert define(tester, area).rc == 0
    assert write(tester, b"contents", by=RH.OWNER).rc == 0


@WAYS
@BASES
def test_a_session_expires_with_its_ticket(
    tester: Tester, engine_peer: EnginePeer, way: int, absolute: bool
) -> None:
    """An accepted ticket limits the session as the authorization itself would have."""
    engine_peer.clock.milliseconds += 500
    name, answer = ticketed(tester, way, absolute=absolute)
    readable_with(tester, way, name)
    for waiting, rc in ((99_000, 0), (1_501, session_error(RC.EXPIRED, 1))):
        session = tester.start_session(SE.POLICY)
        assert redeem(tester, session, name, answer).rc == 0
        engine_peer.clock.milliseconds += waiting
        assert read(tester, 8, auth=session).rc == rc
        flush(tester, session)


@WAYS
@BASES
def test_a_session_expires_with_its_authorization(
    tester: Tester, engine_peer: EnginePeer, way: int, absolute: bool
) -> None:
    engine_peer.clock.milliseconds += 500
    name = RH.OWNER.to_bytes(4) if way == CC.POLICY_SECRET else areas.name_of(EC[0])
    readable_with(tester, way, name)
    for waiting, rc in ((9_000, 0), (11_001, session_error(RC.EXPIRED, 1))):
        session = tester.start_session(SE.POLICY)
        started = engine_peer.clock.milliseconds // 1000
        nonce = b"" if absolute else session.nonce_tpm
        expiration = started + 10 if absolute else 10
        granted = authorize(
            tester, way, session, nonce=nonce, reference=REFERENCE, expiration=expiration
        )
        assert granted.rc == 0
        engine_peer.clock.milliseconds += waiting
        assert read(tester, 8, auth=session).rc == rc
        flush(tester, session)


def command_hash(name: bytes, offset: int = 0) -> bytes:
    """cpHash of TPM2_NV_Read of eight octets of an index by itself."""
    params = (8).to_bytes(2) + offset.to_bytes(2)
    return digest(ALG.SHA256, CC.NV_READ.to_bytes(4), name, name, params)


@WAYS
@pytest.mark.parametrize("by_ticket", [False, True])
def test_an_authorization_of_one_command_is_of_no_other(
    both: tuple[Tester, Tester], way: int, by_ticket: bool
) -> None:
    """cpHashA goes into the session, whether it was given or is in the ticket."""
    name = RH.OWNER.to_bytes(4) if way == CC.POLICY_SECRET else areas.name_of(EC[0])
    for tester in both:
        readable_with(tester, way, name)
        index = tester.name(INDEX)
        for cp_hash, rc in (
            (command_hash(index), 0),
            (command_hash(index, 1), session_error(RC.POLICY_FAIL, 1)),
        ):
            session = tester.start_session(SE.POLICY)
            granted = authorize(
                tester, way, session, cp_hash=cp_hash, reference=REFERENCE, expiration=-100
            )
            assert granted.rc == 0
            if by_ticket:
                flush(tester, session)
                session = tester.start_session(SE.POLICY)
                assert redeem(tester, session, name, granted, cp_hash=cp_hash).rc == 0
            assert read(tester, 8, auth=session).rc == rc
            flush(tester, session)


@WAYS
@BASES
def test_tickets_do_not_outlive_a_reset(tester: Tester, way: int, absolute: bool) -> None:
    name, answer = ticketed(tester, way, absolute=absolute)
    tester.reset()
    session = tester.start_session(SE.POLICY)
    assert redeem(tester, session, name, answer).rc == parameter_error(RC.TICKET, 5)


@WAYS
def test_authorizations_expire(tester: Tester, engine_peer: EnginePeer, way: int) -> None:
    """From the start of the session with its nonce, from _TPM_Init without one."""
    engine_peer.clock.milliseconds += 5000
    session = tester.start_session(SE.POLICY)
    late = parameter_error(RC.EXPIRED, 4)
    assert authorize(tester, way, session, expiration=4).rc == late
    assert authorize(tester, way, session, expiration=5).rc == 0
    engine_peer.clock.milliseconds += 2000
    assert authorize(tester, way, session, nonce=session.nonce_tpm, expiration=1).rc == late
    assert authorize(tester, way, session, nonce=session.nonce_tpm, expiration=-1).rc == late
    assert authorize(tester, way, session, nonce=session.nonce_tpm, expiration=2).rc == 0


@WAYS
def test_an_absolute_expiration_ends_with_its_second(
    tester: Tester, engine_peer: EnginePeer, way: int
) -> None:
    """It is in whole seconds: not before the one that it names is over, and then at once."""
    engine_peer.clock.milliseconds += 5999
    name = RH.OWNER.to_bytes(4) if way == CC.POLICY_SECRET else areas.name_of(EC[0])
    readable_with(tester, way, name)
    session = tester.start_session(SE.POLICY)
    granted = authorize(tester, way, session, reference=REFERENCE, expiration=5)
    assert granted.rc == 0
    engine_peer.clock.milliseconds += 1
    assert read(tester, 8, auth=session).rc == session_error(RC.EXPIRED, 1)
    late = authorize(tester, way, session, reference=REFERENCE, expiration=5)
    assert late.rc == parameter_error(RC.EXPIRED, 4)


def verified(tester: Tester, handle: int, signed_digest: bytes, auth: bytes) -> bytes:
    """The ticket of TPM2_VerifySignature."""
    answer = tester.run(CC.VERIFY_SIGNATURE, [handle], sized(signed_digest) + auth)
    assert answer.rc == 0
    return answer.parameters


def test_authorized_policies(both: tuple[Tester, Tester]) -> None:
    approved = policy_of(ALG.SHA256, AUTH_VALUE)
    name = areas.name_of(EC[0])
    accepted = updated(ALG.SHA256, bytes(32), CC.POLICY_AUTHORIZE, name, REFERENCE)
    signed_digest = digest(ALG.SHA256, approved, REFERENCE)

    def parameters(
        policy: bytes = approved,
        reference: bytes = REFERENCE,
        key: bytes = name,
        ticket: bytes = b"",
    ) -> bytes:
        return sized(policy) + sized(reference) + sized(key) + ticket

    for tester in both:
        handle = load(tester, EC, public_only=True)
        ticket = verified(tester, handle, signed_digest, by_ecdsa(approved + REFERENCE))
        null = ST.VERIFIED.to_bytes(2) + RH.NULL.to_bytes(4) + bytes(2)
        zero = ticket[:6] + sized(bytes(len(ticket) - 8))
        invalid = parameter_error(RC.VALUE, 4)
        attempts = [
            (parameters(ticket=ticket), 0),
            (parameters(ticket=null), invalid),
            (parameters(ticket=zero), invalid),
            (parameters(ticket=ticket[:6] + bytes(2)), invalid),
            (parameters(ticket=ticket[:-1] + bytes((ticket[-1] ^ 1,))), invalid),
            (parameters(ticket=ticket[:2] + RH.PLATFORM.to_bytes(4) + ticket[6:]), invalid),
            (parameters(reference=b"", ticket=ticket), invalid),
            (parameters(key=name[:-1] + b"!", ticket=ticket), invalid),
            (parameters(policy=bytes(32), ticket=ticket), parameter_error(RC.VALUE, 1)),
            (parameters(key=b"", ticket=ticket), parameter_error(RC.HASH, 3)),
            (parameters(key=RH.OWNER.to_bytes(4), ticket=ticket), parameter_error(RC.HASH, 3)),
            (parameters(key=name[:-1], ticket=ticket), parameter_error(RC.SIZE, 3)),
            (parameters(key=name + b"!", ticket=ticket), parameter_error(RC.SIZE, 3)),
        ]
        for params, rc in attempts:
            session = session_with(tester, AUTH_VALUE)
            assert tester.run(CC.POLICY_AUTHORIZE, [session.handle], params).rc == rc, params.hex()
            assert policy_digest(tester, session) == (approved if rc else accepted)
            flush(tester, session)
        trial = tester.start_session(SE.TRIAL)
        assert tester.run(CC.POLICY_AUTHORIZE, [trial.handle], parameters(ticket=null)).rc == 0
        assert policy_digest(tester, trial) == accepted


def test_an_external_key_of_the_null_hierarchy_authorizes_nothing(tester: Tester) -> None:
    """Its ticket is a NULL Ticket, which no policy accepts."""
    approved = policy_of(ALG.SHA256, AUTH_VALUE)
    handle = load(tester, EC)
    ticket = verified(tester, handle, digest(ALG.SHA256, approved), by_ecdsa(approved))
    assert ticket == ST.VERIFIED.to_bytes(2) + RH.NULL.to_bytes(4) + bytes(2)
    session = session_with(tester, AUTH_VALUE)
    params = sized(approved) + sized(b"") + sized(areas.name_of(EC[0])) + ticket
    refused = tester.run(CC.POLICY_AUTHORIZE, [session.handle], params)
    assert refused.rc == parameter_error(RC.VALUE, 4)


@WAYS
def test_nothing_expires_while_time_stands_still(
    tester: Tester, engine_peer: EnginePeer, way: int
) -> None:
    """Part 1, 34.7.2.2: what has a timeout waits until the host can store again."""
    name, answer = ticketed(tester, way, absolute=True)
    session = tester.start_session(SE.POLICY)
    engine_peer.engine.nv_available = False
    for expiration in (1, -1):
        refused = authorize(tester, way, session, expiration=expiration)
        assert refused.rc == RC.NV_UNAVAILABLE
    assert redeem(tester, session, name, answer).rc == RC.NV_UNAVAILABLE
    stale = authorize(tester, way, session, nonce=bytes(16), expiration=1)
    assert stale.rc == parameter_error(RC.NONCE, 1)
    assert policy_digest(tester, session) == bytes(32)
    assert authorize(tester, way, session).rc == 0
    engine_peer.engine.nv_available = True
    assert authorize(tester, way, session, expiration=1).rc == 0
    assert redeem(tester, session, name, answer).rc == 0

"""What a policy session authorizes: every assertion that is deferred, checked at the use."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from tests.tpm.agreement import parameter_error, session_error
from tests.tpm.areas import (
    AES_128_CFB,
    FIXED,
    NO_DA,
    OWN,
    STORAGE,
    USER_AUTH,
    ecc,
    keyedhash,
    loaded_primary,
    sensitive_create,
    storage,
)
from tests.tpm.commands.nv_area import INDEX, OWNER_RW, Area, define, read, undefine, write
from tests.tpm.commands.policy_steps import (
    AUTH_VALUE,
    PASSWORD,
    PHYSICAL_PRESENCE,
    Assertion,
    bound,
    command_code,
    either,
    flush,
    locality,
    pcr,
    policy_digest,
    policy_of,
    secret,
    session_with,
    transport_spdm,
    updated,
    written,
)
from tests.tpm.harness import EnginePeer, Password, Result, Session, Tester, digest, sized
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.attributes import TPMA_NV
from vtpmd.tpm.wire.constants import ALG, CC, RH, SE, SU

Both = tuple[Tester, Tester]

READ_8 = (8).to_bytes(2) + bytes(2)
POLICY_FAIL = session_error(RC.POLICY_FAIL, 1)
AREA = Area(OWNER_RW | TPMA_NV.POLICYREAD | TPMA_NV.POLICYWRITE | TPMA_NV.NO_DA)


def nothing(tester: Tester, session: Session) -> None:
    """Nothing happens between the policy and its use."""


def extend_a_pcr(tester: Tester, session: Session) -> None:
    """TPM2_PCR_Extend of PCR 3."""
    params = (1).to_bytes(4) + ALG.SHA256.to_bytes(2) + bytes(32)
    assert tester.run(CC.PCR_EXTEND, [3], params, [Password()]).rc == 0


def extend_a_free_pcr(tester: Tester, session: Session) -> None:
    """TPM2_PCR_Extend of PCR 23, which changes count for nothing."""
    params = (1).to_bytes(4) + ALG.SHA256.to_bytes(2) + bytes(32)
    assert tester.run(CC.PCR_EXTEND, [23], params, [Password()]).rc == 0


def at_locality(number: int) -> Callable[[Tester, Session], None]:
    """The use is at another locality."""
    return lambda tester, session: tester.peer.set_locality(number)


def with_value(value: bytes) -> Callable[[Tester, Session], None]:
    """Prove an authValue by HMAC."""

    def set_value(tester: Tester, session: Session) -> None:
        session.auth_value = value

    return set_value


def with_password(value: bytes) -> Callable[[Tester, Session], None]:
    """Give an authValue in clear."""

    def set_password(tester: Tester, session: Session) -> None:
        session.password = value

    return set_password


def with_tampering(tester: Tester, session: Session) -> None:
    """A wrong HMAC, where none is asked for."""
    session.always_proves = session.tamper = True


@dataclass(frozen=True)
class Use:
    """A policy for TPM2_NV_Read of an index, and what comes of it."""

    assertions: tuple[Assertion, ...]
    rc: int
    between: Callable[[Tester, Session], None] = nothing
    policy: bytes | None = None
    """authPolicy, if not that of the assertions."""
    alg: int = ALG.SHA256
    session_alg: int = ALG.SHA256
    area: Area = field(default=AREA)
    is_written: bool = True


READ = command_code(CC.NV_READ)
ZERO = bytes(32)
USES = {
    "no assertion, zero policy": Use((), 0, policy=ZERO),
    "no policy in the entity": Use((), RC.AUTH_UNAVAILABLE, policy=b""),
    "another policy": Use((READ,), POLICY_FAIL, policy=ZERO),
    "policy of a branch": Use((READ, either(ZERO, policy_of(ALG.SHA256, READ))), 0),
    "policy reading not allowed": Use(
        (READ,),
        RC.AUTH_UNAVAILABLE,
        area=replace(AREA, attributes=AREA.attributes & ~TPMA_NV.POLICYREAD),
    ),
    "another hash": Use((READ,), POLICY_FAIL, session_alg=ALG.SHA384),
    "another hash of the same size as the policy": Use(
        (), POLICY_FAIL, policy=ZERO, session_alg=ALG.SHA1
    ),
    "the command": Use((READ,), 0),
    "another command": Use((command_code(CC.NV_WRITE),), session_error(RC.POLICY_CC, 1)),
    "this locality": Use((locality(1),), 0),
    "another locality": Use((locality(2),), RC.LOCALITY),
    "moved to the locality": Use((locality(2),), 0, at_locality(1)),
    "moved from the locality": Use((locality(1),), RC.LOCALITY, at_locality(3)),
    "locality 4": Use((locality(0x10),), 0, at_locality(4)),
    "extended locality": Use((locality(0x20),), RC.LOCALITY),
    "extended locality with the bits of all others": Use((locality(0x3F),), RC.LOCALITY),
    "extended locality that ends as this one": Use((locality(0x21),), RC.LOCALITY),
    "extended locality that ends as locality 4": Use(
        (locality(0x30),), RC.LOCALITY, at_locality(4)
    ),
    "physical presence": Use((PHYSICAL_PRESENCE,), session_error(RC.PP, 1)),
    "index is written": Use((written(1),), 0),
    "index is not written, but should be": Use((written(1),), POLICY_FAIL, is_written=False),
    "index is written, but should not be": Use((written(0),), POLICY_FAIL),
    "index is not written": Use((written(0),), RC.NV_UNINITIALIZED, is_written=False),
    "PCRs": Use((pcr(ALG.SHA256, [ZERO], bits=8),), 0),
    "PCRs that count for nothing have changed": Use(
        (pcr(ALG.SHA256, [ZERO], bits=8),), 0, extend_a_free_pcr
    ),
    "the authValue": Use((AUTH_VALUE,), 0, with_value(b"value")),
    "a wrong authValue": Use((AUTH_VALUE,), session_error(RC.BAD_AUTH, 1), with_value(b"guess")),
    "no authValue": Use((AUTH_VALUE,), session_error(RC.BAD_AUTH, 1)),
    "the password": Use((PASSWORD,), 0, with_password(b"value\0")),
    "a wrong password": Use((PASSWORD,), session_error(RC.BAD_AUTH, 1), with_password(b"guess")),
    "no password": Use((PASSWORD,), session_error(RC.BAD_AUTH, 1), with_password(b"")),
    "the password where the authValue counts": Use(
        (PASSWORD, AUTH_VALUE), session_error(RC.BAD_AUTH, 1), with_password(b"value")
    ),
    "the last one counts": Use((AUTH_VALUE, PASSWORD), 0, with_password(b"value")),
    "a wrong HMAC where none counts": Use((READ,), session_error(RC.BAD_AUTH, 1), with_tampering),
}


def use(tester: Tester, case: Use) -> tuple[int, bytes]:
    """The response code, and policyDigest after it."""
    policy = policy_of(case.alg, *case.assertions) if case.policy is None else case.policy
    area = replace(case.area, policy=policy, alg=case.alg)
    assert define(tester, area, auth=b"value").rc == 0
    if case.is_written:
        assert write(tester, b"contents", by=RH.OWNER).rc == 0
    session = session_with(tester, *case.assertions, alg=case.session_alg)
    case.between(tester, session)
    result = read(tester, 8, auth=session)
    after = policy_digest(tester, session)
    tester.peer.set_locality(0)
    return result.rc, after


@pytest.mark.parametrize("name", USES)
def test_deferred_assertions(both: tuple[Tester, Tester], name: str) -> None:
    case = USES[name]
    ours, theirs = (use(tester, case) for tester in both)
    assert ours == theirs
    assert ours[0] == case.rc
    fresh = bytes(len(digest(case.session_alg)))
    made = policy_of(case.session_alg, *case.assertions)
    # What is used up begins anew; what is refused can still be completed.
    assert ours[1] == (made if case.rc else fresh)


@pytest.mark.parametrize("names", [(b"", b""), (b"\x00\x0b" + ZERO, b"")])
def test_there_is_no_secure_channel(tester: Tester, names: tuple[bytes, bytes]) -> None:
    """libtpms 0.9.2 does not have the assertion (version 184)."""
    channel = transport_spdm(ALG.SHA256, *names)
    refused = session_error(RC.CHANNEL, 1)
    assert use(tester, Use((channel,), refused)) == (refused, policy_of(ALG.SHA256, channel))


def test_pcrs_that_have_changed(both: tuple[Tester, Tester]) -> None:
    case = Use((pcr(ALG.SHA256, [ZERO], bits=8),), RC.PCR_CHANGED, extend_a_pcr)
    for tester in both:
        params = (1).to_bytes(4) + ALG.SHA256.to_bytes(2) + bytes(32)
        # libtpms takes a counter of 0 for none, so that the first change must have been before.
        assert tester.run(CC.PCR_EXTEND, [5], params, [Password()]).rc == 0
        assert use(tester, case)[0] == RC.PCR_CHANGED


def test_the_first_change_of_a_pcr_counts(tester: Tester) -> None:
    case = Use((pcr(ALG.SHA256, [ZERO], bits=8),), RC.PCR_CHANGED, extend_a_pcr)
    assert use(tester, case)[0] == RC.PCR_CHANGED


def prepared(tester: Tester, policy: bytes) -> bytes:
    """Define and write an index with an authPolicy; its Name."""
    area = replace(AREA, policy=policy)
    assert define(tester, area, auth=b"value").rc == 0
    assert write(tester, b"contents", by=RH.OWNER).rc == 0
    return area.name(more=TPMA_NV.WRITTEN)


def test_hashes_of_the_command(both: tuple[Tester, Tester]) -> None:
    """Bound to the whole command, its objects, or its parameters; the owner's policy can be."""
    code, owner = CC.NV_READ.to_bytes(4), RH.OWNER.to_bytes(4)
    for tester in both:
        name = prepared(tester, ZERO)
        whole = digest(ALG.SHA256, code, owner, name, READ_8)
        names = digest(ALG.SHA256, owner, name)
        parameters = digest(ALG.SHA256, code, READ_8)
        hashes = [
            (CC.POLICY_CP_HASH, whole, True),
            (CC.POLICY_CP_HASH, names, False),
            (CC.POLICY_CP_HASH, digest(ALG.SHA256, code, owner, name, bytes(4)), False),
            (CC.POLICY_NAME_HASH, names, True),
            (CC.POLICY_NAME_HASH, digest(ALG.SHA256, name, owner), False),
            (CC.POLICY_NAME_HASH, whole, False),
            (CC.POLICY_TEMPLATE, digest(ALG.SHA256, READ_8), False),
        ]
        if isinstance(tester.peer, EnginePeer):
            hashes += [(CC.POLICY_PARAMETERS, parameters, True)]
            hashes += [(CC.POLICY_PARAMETERS, whole, False)]
        for assertion, octets, fits in hashes:
            step = bound(assertion, octets)
            set_owner_policy(tester, policy_of(ALG.SHA256, step))
            session = session_with(tester, step)
            found = read(tester, 8, by=RH.OWNER, auth=session)
            assert found.rc == (0 if fits else POLICY_FAIL), (hex(assertion), octets.hex())
            flush(tester, session)


def set_owner_policy(tester: Tester, policy: bytes) -> None:
    """TPM2_SetPrimaryPolicy of the owner."""
    params = sized(policy) + (ALG.SHA256 if policy else ALG.NULL).to_bytes(2)
    assert tester.run(CC.SET_PRIMARY_POLICY, [RH.OWNER], params, [Password()]).rc == 0


def test_a_template(both: tuple[Tester, Tester]) -> None:
    """The public area of what is created, whatever its authValue."""
    template = bytes.fromhex("0023000b 00030472 0000 0006 0080 0043 0010 0003 0010 0000 0000")
    other = bytes.fromhex("0023000b 00030472 0000 0006 0080 0043 0010 0004 0010 0000 0000")
    step = bound(CC.POLICY_TEMPLATE, digest(ALG.SHA256, template))
    for tester in both:
        set_owner_policy(tester, policy_of(ALG.SHA256, step))
        for area, auth, rc in ((template, b"", 0), (other, b"", POLICY_FAIL), (template, b"x", 0)):
            session = session_with(tester, step)
            params = sized(sized(auth) + sized(b"")) + sized(area) + sized(b"") + bytes(4)
            made = tester.run(CC.CREATE_PRIMARY, [RH.OWNER], params, [session])
            assert made.rc == rc
            if made.handle is not None:
                assert tester.run(CC.FLUSH_CONTEXT, params=made.handle.to_bytes(4)).rc == 0
            flush(tester, session)


def test_an_object_without_a_policy_is_not_authorized_by_one(both: tuple[Tester, Tester]) -> None:
    for tester in both:
        parent = loaded_primary(tester, storage())
        for assertions in ((), (command_code(CC.CREATE),), (AUTH_VALUE,)):
            session = session_with(tester, *assertions)
            assert tester.run(CC.CREATE, [parent], auths=[session]).rc == POLICY_FAIL
            flush(tester, session)


def test_an_index_attribute_says_nothing_of_a_hierarchy(both: tuple[Tester, Tester]) -> None:
    for tester in both:
        prepared(tester, ZERO)
        set_owner_policy(tester, policy_of(ALG.SHA256, written(1)))
        session = session_with(tester, written(1))
        assert read(tester, 8, by=RH.OWNER, auth=session).rc == POLICY_FAIL
        set_owner_policy(tester, b"")
        session = tester.start_session(SE.POLICY)
        assert read(tester, 8, by=RH.OWNER, auth=session).rc == RC.AUTH_UNAVAILABLE


@pytest.mark.parametrize("code", [CC.NV_CHANGE_AUTH, None])
def test_administration_needs_a_policy_that_names_the_command(
    both: tuple[Tester, Tester], code: int | None
) -> None:
    assertions = () if code is None else (command_code(code),)
    for tester in both:
        prepared(tester, policy_of(ALG.SHA256, *assertions))
        session = session_with(tester, *assertions)
        session.attributes = 0
        changed = tester.run(CC.NV_CHANGE_AUTH, [INDEX], sized(b"new"), [session])
        assert changed.rc == (0 if code else POLICY_FAIL)


def test_a_trial_session_authorizes_nothing(both: tuple[Tester, Tester]) -> None:
    for tester in both:
        prepared(tester, policy_of(ALG.SHA256, READ))
        session = session_with(tester, READ, kind=SE.TRIAL)
        assert read(tester, 8, auth=session).rc == session_error(RC.ATTRIBUTES, 1)
        assert policy_digest(tester, session) == policy_of(ALG.SHA256, READ)


def test_an_hmac_session_is_no_policy_session(both: tuple[Tester, Tester]) -> None:
    for tester in both:
        prepared(tester, ZERO)
        session = tester.start_session(SE.HMAC)
        assert read(tester, 8, auth=session).rc == RC.AUTH_UNAVAILABLE


@pytest.mark.parametrize("attributes", [0x00, 0x01])
def test_a_session_is_used_up_or_ended(both: tuple[Tester, Tester], attributes: int) -> None:
    for tester in both:
        prepared(tester, policy_of(ALG.SHA256, READ))
        session = session_with(tester, READ)
        session.attributes = attributes
        assert read(tester, 8, auth=session).rc == 0
        again = read(tester, 8, auth=session).rc
        assert again == (POLICY_FAIL if attributes else RC.REFERENCE_S0)


def test_encrypting_with_a_policy_session_uses_it_up(both: tuple[Tester, Tester]) -> None:
    for tester in both:
        prepared(tester, ZERO)
        session = tester.start_session(SE.POLICY, salt=b"", aes_bits=128)
        assert READ.run(tester, session).rc == 0
        session.attributes |= 0x40
        auths: list[Password | Session] = [Password(), session]
        found = tester.run(CC.NV_READ, [RH.OWNER, INDEX], READ_8, auths)
        assert found.sized() == b"contents"
        assert policy_digest(tester, session) == ZERO


def test_time_runs_out_between_policy_and_use(tester: Tester, engine_peer: EnginePeer) -> None:
    policy = updated(ALG.SHA256, ZERO, CC.POLICY_SECRET, RH.OWNER.to_bytes(4), b"")
    prepared(tester, policy)

    def after(milliseconds: int, *expirations: int) -> int:
        session = tester.start_session(SE.POLICY)
        for expiration in expirations:
            assert tester.run(CC.POLICY_RESTART, [session.handle]).rc == 0
            answer = secret(tester, session, nonce=session.nonce_tpm, expiration=expiration)
            assert answer.rc == 0
        engine_peer.clock.milliseconds += milliseconds
        result: Result = read(tester, 8, auth=session)
        flush(tester, session)
        return result.rc

    assert after(10_000, 10) == 0
    assert after(10_001, 10) == session_error(RC.EXPIRED, 1)
    assert after(10_001, -10) == session_error(RC.EXPIRED, 1)
    assert after(1 << 40, 0) == 0


def test_the_shortest_time_counts(tester: Tester, engine_peer: EnginePeer) -> None:
    policy = ZERO
    for _ in range(3):
        policy = updated(ALG.SHA256, policy, CC.POLICY_SECRET, RH.OWNER.to_bytes(4), b"")
    prepared(tester, policy)
    for waiting, rc in ((5000, 0), (5001, session_error(RC.EXPIRED, 1))):
        session = tester.start_session(SE.POLICY)
        for expiration in (9, 5, 7):
            answer = secret(tester, session, nonce=session.nonce_tpm, expiration=expiration)
            assert answer.rc == 0
        engine_peer.clock.milliseconds += waiting
        assert read(tester, 8, auth=session).rc == rc
        flush(tester, session)


def test_a_used_session_counts_its_time_anew(tester: Tester, engine_peer: EnginePeer) -> None:
    prepared(tester, ZERO)
    session = tester.start_session(SE.POLICY)
    engine_peer.clock.milliseconds += 60_000
    assert read(tester, 8, auth=session).rc == 0
    assert secret(tester, session, nonce=session.nonce_tpm, expiration=1).rc == 0
    engine_peer.clock.milliseconds += 1001
    late = secret(tester, session, nonce=session.nonce_tpm, expiration=1)
    assert late.rc == RC.EXPIRED | 0x440


@pytest.mark.parametrize("limited", [True, False])
def test_a_time_limit_does_not_outlive_a_power_cycle(both: Both, limited: bool) -> None:
    """A session that was saved can be used after a TPM Resume, when Time has begun anew."""
    owner = RH.OWNER.to_bytes(4)
    policy = updated(ALG.SHA256, ZERO, CC.POLICY_SECRET, owner, b"")
    for tester in both:
        prepared(tester, policy)
        session = tester.start_session(SE.POLICY)
        expiration = 100_000 if limited else 0
        answer = secret(tester, session, nonce=session.nonce_tpm, expiration=expiration)
        assert answer.rc == 0
        context = tester.run(CC.CONTEXT_SAVE, [session.handle]).parameters
        assert tester.run(CC.SHUTDOWN, params=SU.STATE.to_bytes(2)).rc == 0
        tester.peer.reset()
        assert tester.startup(SU.STATE) == 0
        assert tester.run(CC.CONTEXT_LOAD, params=context).rc == 0
        assert policy_digest(tester, session) == policy
        expected = session_error(RC.EXPIRED, 1) if limited else 0
        assert read(tester, 8, auth=session).rc == expected


def test_a_limit_is_not_entered_in_a_session_of_another_power_cycle(both: Both) -> None:
    for tester in both:
        session = tester.start_session(SE.POLICY)
        context = tester.run(CC.CONTEXT_SAVE, [session.handle]).parameters
        assert tester.run(CC.SHUTDOWN, params=SU.STATE.to_bytes(2)).rc == 0
        tester.peer.reset()
        assert tester.startup(SU.STATE) == 0
        assert tester.run(CC.CONTEXT_LOAD, params=context).rc == 0
        for nonce in (b"", session.nonce_tpm):
            refused = secret(tester, session, nonce=nonce, expiration=100_000)
            assert refused.rc == parameter_error(RC.EXPIRED, 4)
        assert policy_digest(tester, session) == ZERO
        # Used once, the session has a new nonceTPM and belongs to this power cycle.
        prepared(tester, ZERO)
        assert read(tester, 8, auth=session).rc == 0
        granted = secret(tester, session, nonce=session.nonce_tpm, expiration=100_000)
        assert granted.rc == 0


@pytest.mark.parametrize("allowed", [0x20, 0x21, 0x3F, 0xFF])
def test_an_extended_locality_is_one_locality(
    tester: Tester, engine_peer: EnginePeer, allowed: int
) -> None:
    """Part 2, 8.5: above 31 the value is the number of one locality, and no set of bits."""
    step = locality(allowed)
    prepared(tester, policy_of(ALG.SHA256, step))
    for number in (*range(5), 0x20, 0x21, 0x3F, 0xFF):
        session = session_with(tester, step)
        tester.peer.set_locality(number)
        assert read(tester, 8, auth=session).rc == (0 if number == allowed else RC.LOCALITY)
        tester.peer.set_locality(0)
        flush(tester, session)


@pytest.mark.parametrize("code", [CC.CREATE, CC.CREATE_LOADED])
def test_a_template_below_a_parent(both: Both, code: int) -> None:
    """TPM2_Create and TPM2_CreateLoaded: inPublic, as it was sent."""
    template, other = keyedhash(FIXED | USER_AUTH | NO_DA), keyedhash(FIXED | USER_AUTH)
    step = bound(CC.POLICY_TEMPLATE, digest(ALG.SHA256, template))
    parent_template = ecc(
        OWN & ~USER_AUTH | STORAGE | NO_DA,
        symmetric=AES_128_CFB,
        policy=policy_of(ALG.SHA256, step),
    )
    rest = sized(b"") + bytes(4) if code == CC.CREATE else b""
    for tester in both:
        parent = loaded_primary(tester, parent_template)
        for area, auth, rc in ((template, b"", 0), (other, b"", POLICY_FAIL), (template, b"x", 0)):
            session = session_with(tester, step)
            params = sensitive_create(auth, b"data") + sized(area) + rest
            assert tester.run(code, [parent], params, [session]).rc == rc
            flush(tester, session)


ALIKE = ((ALG.SHA256, ALG.SHA3_256), (ALG.SHA384, ALG.SHA3_384), (ALG.SHA3_512, ALG.SHA512))


@pytest.mark.parametrize(("alg", "other"), ALIKE)
def test_the_hash_of_a_policy_counts_and_not_only_its_digest(
    sha3_tester: Tester, alg: int, other: int
) -> None:
    """A policy with no assertion has the same digest under every hash of its size."""
    policy = bytes({ALG.SHA256: 32, ALG.SHA384: 48}.get(ALG(alg), 64))
    tester = sha3_tester
    params = sized(policy) + alg.to_bytes(2)
    for handle in (RH.OWNER, RH.LOCKOUT):
        assert tester.run(CC.SET_PRIMARY_POLICY, [handle], params, [Password()]).rc == 0
    template = keyedhash(FIXED | NO_DA, alg=alg, policy=policy)
    item = loaded_primary(tester, template, data=b"data")
    area = replace(AREA, alg=alg, policy=policy)
    params = sized(b"value") + sized(area.marshal())
    assert tester.run(CC.NV_DEFINE_SPACE, [RH.OWNER], params, [Password()]).rc == 0
    assert write(tester, b"contents", by=RH.OWNER).rc == 0
    for used, rc in ((other, POLICY_FAIL), (alg, 0)):
        for code, handles, params in (
            (CC.SET_PRIMARY_POLICY, [RH.OWNER], sized(policy) + alg.to_bytes(2)),
            (CC.DICTIONARY_ATTACK_LOCK_RESET, [RH.LOCKOUT], b""),
            (CC.UNSEAL, [item], b""),
            (CC.NV_READ, [INDEX, INDEX], READ_8),
        ):
            session = tester.start_session(SE.POLICY, alg=used)
            assert tester.run(code, handles, params, [session]).rc == rc, hex(code)
            flush(tester, session)


@pytest.mark.parametrize(("alg", "other"), ALIKE[:2])
def test_the_hash_of_a_pcr_policy_counts(sha3_tester: Tester, alg: int, other: int) -> None:
    tester = sha3_tester
    policy = bytes(32 if alg == ALG.SHA256 else 48)
    params = sized(policy) + alg.to_bytes(2) + (20).to_bytes(4)
    assert tester.run(CC.PCR_SET_AUTH_POLICY, [RH.PLATFORM], params, [Password()]).rc == 0
    tester.peer.set_locality(2)
    for used, rc in ((other, POLICY_FAIL), (alg, 0)):
        session = tester.start_session(SE.POLICY, alg=used)
        params = (1).to_bytes(4) + ALG.SHA256.to_bytes(2) + bytes(32)
        assert tester.run(CC.PCR_EXTEND, [20], params, [session]).rc == rc
        flush(tester, session)


def test_deleting_the_index_ends_its_use(tester: Tester) -> None:
    prepared(tester, policy_of(ALG.SHA256, READ))
    session = session_with(tester, READ)
    assert undefine(tester).rc == 0
    assert read(tester, 8, auth=session).rc == RC.HANDLE | 0x100

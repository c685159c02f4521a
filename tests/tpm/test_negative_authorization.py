"""Mistakes of other TPMs, shown not to be made here: authorization that could be gone without."""

import itertools
import struct

import pytest

from tests.tpm import areas, harness
from tests.tpm.agreement import agreed, session_error
from tests.tpm.areas import NO_DA, NONE, SIGN, USER_AUTH, words
from tests.tpm.commands import nv_area
from tests.tpm.commands.nv_area import INDEX, OWNER_RW, Area, define
from tests.tpm.commands.policy_steps import (
    AUTH_VALUE,
    PHYSICAL_PRESENCE,
    Assertion,
    bound,
    command_code,
    locality,
    policy_digest,
    policy_of,
    session_with,
)
from tests.tpm.harness import ENCRYPT, EnginePeer, Password, Result, Session, Tester, sized
from tests.tpm.known_keys import ecc_areas
from tests.tpm.raw import code_of, framed
from vtpmd.tpm.command import COMMANDS
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.attributes import TPMA_NV
from vtpmd.tpm.wire.constants import ALG, CAP, CC, PT, RH, SE

Both = tuple[Tester, Tester]
ZERO = bytes(32)
NONCE = sized(b"nonce")
POLICY_FAIL = session_error(RC.POLICY_FAIL, 1)


def unseal(tester: Tester, handle: int, auth: Password | Session) -> Result:
    """TPM2_Unseal."""
    return tester.run(CC.UNSEAL, [handle], auths=[auth])


def test_no_command_with_a_role_runs_without_a_session(
    pqc: Tester,
) -> None:
    """TPM2_Clear, sent with TPM_ST_NO_SESSIONS, wiped a TPM for anybody."""
    tester, peer = pqc, pqc.peer
    assert isinstance(peer, EnginePeer)
    assert define(tester, Area()).rc == 0
    areas.loaded_external(tester, *ecc_areas(SIGN))
    sessions = (tester.start_session(SE.POLICY).handle, tester.start_session().handle)
    entities = (16, INDEX, 0x80000000, *sessions, 0x40000110)
    candidates = (RH.OWNER, RH.ENDORSEMENT, RH.PLATFORM, RH.LOCKOUT, *entities)
    refused = set()
    for code, spec in COMMANDS.items():
        for handles in itertools.product(candidates, repeat=len(spec.handles)):
            if not spec.authorizations:
                continue
            area = b"".join(handle.to_bytes(4) for handle in handles)
            answer = code_of(peer.engine.execute(framed(code, area + bytes(64)), 0).response)
            assert answer, hex(code)
            if answer == RC.AUTH_MISSING:
                refused.add(code)
    assert refused == {code for code, spec in COMMANDS.items() if spec.authorizations}


def test_clear_needs_authorization(both: Both) -> None:
    assert agreed(both, Tester.run, CC.CLEAR, [RH.LOCKOUT]).rc == RC.AUTH_MISSING
    assert agreed(both, Tester.run, CC.CLEAR, [RH.PLATFORM]).rc == RC.AUTH_MISSING


@pytest.mark.parametrize("code", [CC.GET_TIME, CC.GET_COMMAND_AUDIT_DIGEST])
def test_one_authorization_is_not_enough_for_two_handles(both: Both, code: int) -> None:
    for tester in both:
        key = areas.loaded_external(tester, *ecc_areas(SIGN))
        answer = tester.run(code, [RH.ENDORSEMENT, key], NONCE + NONE, [Password()])
        assert answer.rc == RC.AUTH_MISSING


def test_an_empty_policy_authorizes_nobody(both: Both) -> None:
    for tester in both:
        handle = areas.loaded_sealed(tester, b"", attributes=areas.FIXED | USER_AUTH | NO_DA)
        assert unseal(tester, handle, tester.start_session(SE.POLICY)).rc == POLICY_FAIL
        assert unseal(tester, handle, session_with(tester, AUTH_VALUE)).rc == POLICY_FAIL
        session = session_with(tester, command_code(CC.CLEAR))
        assert tester.run(CC.CLEAR, [RH.LOCKOUT], auths=[session]).rc == RC.AUTH_UNAVAILABLE


UNSEAL = command_code(CC.UNSEAL)

UNFULFILLED: dict[str, tuple[tuple[Assertion, ...], int]] = {
    "cpHash": ((bound(CC.POLICY_CP_HASH, bytes(31) + b"\1"),), POLICY_FAIL),
    "nameHash": ((bound(CC.POLICY_NAME_HASH, bytes(31) + b"\1"),), POLICY_FAIL),
    "template": ((bound(CC.POLICY_TEMPLATE, bytes(31) + b"\1"),), POLICY_FAIL),
    "locality": ((locality(1 << 3),), RC.LOCALITY),
    "physical presence": ((PHYSICAL_PRESENCE,), session_error(RC.PP, 1)),
    "command code": ((command_code(CC.LOAD),), session_error(RC.POLICY_CC, 1)),
    "authValue": ((AUTH_VALUE,), session_error(RC.BAD_AUTH, 1)),
}


@pytest.mark.parametrize("name", UNFULFILLED)
def test_deferred_assertions_are_checked_at_the_use(both: Both, name: str) -> None:
    assertions, rc = UNFULFILLED[name]
    for tester in both:
        handle = areas.loaded_sealed(tester, policy_of(ALG.SHA256, *assertions), auth=b"auth")
        assert unseal(tester, handle, session_with(tester, *assertions)).rc == rc
        areas.flush(tester, handle)


def test_duplication_is_never_authorized_by_a_password(both: Both) -> None:
    """The DUP role: only a policy that names the command, whatever userWithAuth says."""
    for tester in both:
        policy = policy_of(ALG.SHA256)
        handle = areas.loaded_sealed(tester, policy, attributes=USER_AUTH | NO_DA)
        params = sized(b"") + NONE
        for auth, rc in (
            (Password(), RC.AUTH_TYPE),
            (tester.start_session(), RC.AUTH_TYPE),
            (tester.start_session(SE.POLICY), POLICY_FAIL),
            (session_with(tester, command_code(CC.DUPLICATE)), POLICY_FAIL),
        ):
            assert tester.run(CC.DUPLICATE, [handle, RH.NULL], params, [auth]).rc == rc
            if isinstance(auth, Session):
                areas.flush(tester, auth.handle)


def test_a_policy_reads_nv_only_with_authorization(both: Both) -> None:
    for tester in both:
        area = Area(OWNER_RW | TPMA_NV.AUTHREAD | TPMA_NV.NO_DA)
        assert define(tester, area, auth=b"auth").rc == 0
        assert nv_area.write(tester, bytes(8), by=RH.OWNER).rc == 0
        session = tester.start_session(SE.POLICY)
        params = sized(bytes(8)) + words(0, 0)

        def compare(by: int, *auths: Password, session: Session = session) -> int:
            handles = [by, INDEX, session.handle]
            return tester.run(CC.POLICY_NV, handles, params, auths).rc  # noqa: B023

        assert compare(INDEX) == RC.AUTH_MISSING
        assert compare(INDEX, Password(b"guess")) == session_error(RC.BAD_AUTH, 1)
        assert compare(RH.PLATFORM, Password()) == RC.NV_AUTHORIZATION
        assert policy_digest(tester, session) == ZERO
        assert compare(INDEX, Password(b"auth")) == 0


def test_a_failed_try_is_stored_before_it_is_answered(
    tester: Tester, engine_peer: EnginePeer
) -> None:
    """Power cut right after the answer: nobody gets more tries than there are."""
    counter = struct.pack(">III", CAP.TPM_PROPERTIES, PT.LOCKOUT_COUNTER, 1)

    def tries() -> int:
        return int.from_bytes(tester.run(CC.GET_CAPABILITY, params=counter).parameters[-4:])

    for number in (1, 2):
        handle = areas.loaded_sealed(tester, b"", attributes=areas.FIXED | USER_AUTH, auth=b"auth")
        stored = engine_peer.stored
        refused = unseal(tester, handle, Password(b"guess"))
        assert refused.rc == session_error(RC.AUTH_FAIL, 1)
        assert engine_peer.stored != stored
        tester.reset()
        assert tries() >= number


@pytest.mark.parametrize("use", [harness.DECRYPT, ENCRYPT])
def test_a_bound_session_encrypts_with_the_authvalue_too(both: Both, use: int) -> None:
    """sessionValue is sessionKey || authValue even where the HMAC leaves authValue out."""
    for tester in both:
        area = Area(nv_area.AUTH_RW | TPMA_NV.NO_DA)
        assert define(tester, area, auth=b"auth").rc == 0
        # An index that has been written has another Name: a session bound before isn't anymore.
        assert nv_area.write(tester, bytes(8), auth=Password(b"auth")).rc == 0
        session = tester.start_session(bind=INDEX, bind_auth=b"auth", aes_bits=128)
        session.attributes |= use
        session.auth_value, session.proves_auth_value = b"auth", False
        if use == harness.DECRYPT:
            assert nv_area.write(tester, b"contents", auth=session).rc == 0
            assert nv_area.read(tester, 8, auth=Password(b"auth")).sized() == b"contents"
        else:
            assert nv_area.write(tester, b"contents", auth=Password(b"auth")).rc == 0
            assert nv_area.read(tester, 8, auth=session).sized() == b"contents"

"""What other TPMs that were written from the specification got wrong, one lesson after another.

Most are about authorization that is skipped, proofs that prove nothing and structures in the wrong
order; each is shown here not to be so, with the exact response code.
"""

import hashlib
import itertools
import struct

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.tpm import areas, harness
from tests.tpm.agreement import agreed, handle_error, parameter_error, session_error
from tests.tpm.areas import DECRYPT, NO_DA, NONE, RESTRICTED, SIGN, USER_AUTH, words
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
from tests.tpm.harness import ENCRYPT, EnginePeer, Password, Result, Session, Tester, digest, sized
from tests.tpm.known_keys import P2, Pair, ecc_areas, ecc_key, hmac_areas, point, rsa_areas
from tests.tpm.raw import code_of, framed
from vtpmd.tpm.command import COMMANDS
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.attributes import TPMA_NV
from vtpmd.tpm.wire.constants import ALG, CAP, CC, ECC_CURVE, PT, RH, SE, ST

Both = tuple[Tester, Tester]
ZERO = bytes(32)
RSASSA = words(ALG.RSASSA, ALG.SHA256)
NONCE = sized(b"nonce")
POLICY_FAIL = session_error(RC.POLICY_FAIL, 1)
TWO_AUTHORIZATIONS = {
    *(CC.CERTIFY, CC.CERTIFY_X509, CC.GET_TIME, CC.GET_SESSION_AUDIT_DIGEST),
    *(CC.GET_COMMAND_AUDIT_DIGEST, CC.NV_CERTIFY, CC.NV_UNDEFINE_SPACE_SPECIAL),
    *(CC.ACTIVATE_CREDENTIAL, CC.EVENT_SEQUENCE_COMPLETE),
}
NO_AUTHORIZATION = {
    *(CC.STARTUP, CC.SHUTDOWN, CC.SELF_TEST, CC.INCREMENTAL_SELF_TEST, CC.GET_TEST_RESULT),
    *(CC.START_AUTH_SESSION, CC.POLICY_RESTART, CC.LOAD_EXTERNAL, CC.READ_PUBLIC),
    *(CC.MAKE_CREDENTIAL, CC.RSA_ENCRYPT, CC.ECDH_KEY_GEN, CC.ECC_PARAMETERS, CC.ECC_ENCRYPT),
    *(CC.HASH, CC.GET_RANDOM, CC.STIR_RANDOM, CC.HASH_SEQUENCE_START, CC.EC_EPHEMERAL),
    *(CC.VERIFY_SIGNATURE, CC.PCR_READ, CC.POLICY_SIGNED, CC.POLICY_TICKET, CC.POLICY_OR),
    *(CC.POLICY_PCR, CC.POLICY_LOCALITY, CC.POLICY_COUNTER_TIMER, CC.POLICY_COMMAND_CODE),
    *(CC.POLICY_PHYSICAL_PRESENCE, CC.POLICY_CP_HASH, CC.POLICY_NAME_HASH),
    *(CC.POLICY_DUPLICATION_SELECT, CC.POLICY_AUTHORIZE, CC.POLICY_AUTH_VALUE),
    *(CC.POLICY_PASSWORD, CC.POLICY_GET_DIGEST, CC.POLICY_NV_WRITTEN, CC.POLICY_TEMPLATE),
    *(CC.POLICY_CAPABILITY, CC.POLICY_PARAMETERS, CC.CONTEXT_SAVE, CC.CONTEXT_LOAD),
    *(CC.FLUSH_CONTEXT, CC.READ_CLOCK, CC.GET_CAPABILITY, CC.TEST_PARMS),
    *(CC.NV_READ_PUBLIC, CC.NV_READ_PUBLIC2, CC.POLICY_TRANSPORT_SPDM, CC.VENDOR_TCG_TEST),
}


def key_of(tester: Tester, areas_of_key: tuple[bytes, bytes]) -> int:
    """The handle of a key from outside."""
    loaded = areas.load_external(tester, *areas_of_key)
    assert loaded.handle is not None, hex(loaded.rc)
    return loaded.handle


def with_policy(
    tester: Tester, policy: bytes, *, attributes: int = areas.FIXED | NO_DA, auth: bytes = b""
) -> int:
    """The handle of a sealed object that this policy authorizes."""
    parent = areas.loaded_primary(tester, areas.storage())
    template = areas.keyedhash(attributes, policy=policy)
    handle = areas.loaded_child(tester, parent, template, data=b"secret", auth=auth)
    areas.flush(tester, parent)
    return handle


def unseal(tester: Tester, handle: int, auth: Password | Session) -> Result:
    """TPM2_Unseal."""
    return tester.run(CC.UNSEAL, [handle], auths=[auth])


# 1. Commands sent without sessions went through without any authorization.


def test_the_roles_of_all_handles_are_those_of_part_3() -> None:
    """A handle whose role was left out of a table was never authorized."""
    counts = {code: spec.authorizations for code, spec in COMMANDS.items()}
    assert {code for code, count in counts.items() if count == 2} == TWO_AUTHORIZATIONS
    assert {code for code, count in counts.items() if count == 0} == NO_AUTHORIZATION
    assert max(counts.values()) == 2


def test_no_command_with_a_role_runs_without_a_session(
    tester: Tester, engine_peer: EnginePeer
) -> None:
    """TPM2_Clear, sent with TPM_ST_NO_SESSIONS, wiped a TPM for anybody."""
    assert define(tester, Area()).rc == 0
    key_of(tester, ecc_areas(SIGN))
    sessions = (tester.start_session(SE.POLICY).handle, tester.start_session().handle)
    entities = (16, INDEX, 0x80000000, *sessions, 0x40000110)
    candidates = (RH.OWNER, RH.ENDORSEMENT, RH.PLATFORM, RH.LOCKOUT, *entities)
    refused = set()
    for code, spec in COMMANDS.items():
        for handles in itertools.product(candidates, repeat=len(spec.handles)):
            if not spec.authorizations:
                continue
            area = b"".join(handle.to_bytes(4) for handle in handles)
            answer = code_of(engine_peer.engine.execute(framed(code, area + bytes(64)), 0).response)
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
        key = key_of(tester, ecc_areas(SIGN))
        answer = tester.run(code, [RH.ENDORSEMENT, key], NONCE + NONE, [Password()])
        assert answer.rc == RC.AUTH_MISSING


# 2. An empty authPolicy was fulfilled by every policy session.


def test_an_empty_policy_authorizes_nobody(both: Both) -> None:
    for tester in both:
        handle = with_policy(tester, b"", attributes=areas.FIXED | USER_AUTH | NO_DA)
        assert unseal(tester, handle, tester.start_session(SE.POLICY)).rc == POLICY_FAIL
        assert unseal(tester, handle, session_with(tester, AUTH_VALUE)).rc == POLICY_FAIL
        session = session_with(tester, command_code(CC.CLEAR))
        assert tester.run(CC.CLEAR, [RH.LOCKOUT], auths=[session]).rc == RC.AUTH_UNAVAILABLE


# 3. Tickets with a digest of zeros, or of no octets, were taken for proof.


@pytest.mark.parametrize("proof", [b"", bytes(20), bytes(32), bytes(64)])
@pytest.mark.parametrize("hierarchy", [RH.NULL, RH.OWNER])
def test_tickets_of_zeros_prove_nothing(both: Both, proof: bytes, hierarchy: int) -> None:
    for tester in both:
        session = tester.start_session(SE.POLICY)
        name = RH.OWNER.to_bytes(4)
        for kind in (ST.AUTH_SECRET, ST.AUTH_SIGNED):
            ticket = words(kind) + hierarchy.to_bytes(4) + sized(proof)
            params = sized(bytes(8)) + sized(b"") + sized(b"") + sized(name) + ticket
            answer = tester.run(CC.POLICY_TICKET, [session.handle], params)
            assert answer.rc == parameter_error(RC.TICKET, 5)
        ticket = words(ST.VERIFIED) + hierarchy.to_bytes(4) + sized(proof)
        name = areas.name_of(ecc_areas(SIGN)[0])
        params = sized(ZERO) + sized(b"") + sized(name) + ticket
        answer = tester.run(CC.POLICY_AUTHORIZE, [session.handle], params)
        assert answer.rc == parameter_error(RC.VALUE, 4)
        assert policy_digest(tester, session) == ZERO


def test_a_restricted_key_signs_no_digest_with_a_ticket_of_zeros(pair: Pair) -> None:
    for pair_of_areas in (ecc_areas(SIGN), hmac_areas(SIGN, words(ALG.HMAC, ALG.SHA256))):
        key = pair.load(pair_of_areas)
        ticket = words(ST.HASHCHECK) + RH.OWNER.to_bytes(4) + sized(bytes(64))
        scheme = words(ALG.HMAC if pair_of_areas[0][:2] == words(8) else ALG.ECDSA, ALG.SHA256)
        rc = pair.refuse(CC.SIGN, (key,), sized(ZERO) + scheme + ticket, 1)
        assert rc == RC.TICKET | 0x340
        pair.flush(key)


# 4. Assertions that can only be checked at the use were never checked.


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
        handle = with_policy(tester, policy_of(ALG.SHA256, *assertions), auth=b"auth")
        assert unseal(tester, handle, session_with(tester, *assertions)).rc == rc
        areas.flush(tester, handle)


def test_duplication_is_never_authorized_by_a_password(both: Both) -> None:
    """The DUP role: only a policy that names the command, whatever userWithAuth says."""
    for tester in both:
        policy = policy_of(ALG.SHA256)
        handle = with_policy(tester, policy, attributes=USER_AUTH | NO_DA)
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


# 5. PolicyNV compared with an index that the caller could not have read.


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


# 6. Keys that do not sign attested, and restricted keys took any scheme.


@pytest.mark.parametrize("key", [rsa_areas(DECRYPT), ecc_areas(DECRYPT)], ids=["rsa", "ecc"])
def test_only_signing_keys_attest(pair: Pair, key: tuple[bytes, bytes]) -> None:
    handle = pair.load(key)
    params = NONCE + NONE
    assert pair.refuse(CC.QUOTE, (handle,), params + bytes(4), 1) == handle_error(RC.KEY, 1)
    time = pair.refuse(CC.GET_TIME, (RH.ENDORSEMENT, handle), params, 2)
    assert time == handle_error(RC.KEY, 2)
    certify = pair.refuse(CC.CERTIFY, (handle, handle), params, 2)
    assert certify == handle_error(RC.KEY, 2)


def test_a_restricted_key_keeps_its_scheme(both: Both) -> None:
    for tester in both:
        template = areas.ecc(
            areas.OWN | RESTRICTED | SIGN | NO_DA, scheme=words(ALG.ECDSA, ALG.SHA256)
        )
        key = areas.loaded_primary(tester, template)
        for scheme in (words(ALG.ECDSA, ALG.SHA1), words(ALG.ECSCHNORR, ALG.SHA256)):
            answer = tester.run(CC.QUOTE, [key], NONCE + scheme + bytes(4), [Password()])
            assert answer.rc == RC.SCHEME | P2
            ticket = words(ST.HASHCHECK) + RH.NULL.to_bytes(4) + sized(b"")
            params = sized(digest(ALG.SHA1 if scheme[3] == 4 else ALG.SHA256)) + scheme + ticket
            assert tester.run(CC.SIGN, [key], params, [Password()]).rc == RC.SCHEME | P2


# 7. What leaves a TPM came back altered, twice, or where it does not belong.


def test_a_saved_context_is_authenticated(tester: Tester) -> None:
    """Every single bit, and every field beside the blob."""
    key = key_of(tester, ecc_areas(SIGN))
    saved = tester.run(CC.CONTEXT_SAVE, [key]).parameters
    sizes = (16, 17, 18, 19, 84, 85)
    for position in (*range(90), *range(90, len(saved), 13), len(saved) - 1):
        wrong = bytearray(saved)
        wrong[position] ^= 1
        answer = tester.run(CC.CONTEXT_LOAD, params=bytes(wrong))
        assert answer.rc != 0, position
        if position not in sizes and not 8 <= position < 16:
            assert answer.rc == parameter_error(RC.INTEGRITY, 1), position
    assert tester.run(CC.CONTEXT_LOAD, params=saved).rc == 0


def test_a_session_is_loaded_once(both: Both) -> None:
    """Loaded again, an older state of a session could be used again."""
    for tester in both:
        session = tester.start_session(SE.POLICY)
        first = tester.run(CC.CONTEXT_SAVE, [session.handle]).parameters
        assert tester.run(CC.CONTEXT_LOAD, params=first).rc == 0
        assert tester.run(CC.CONTEXT_LOAD, params=first).rc == parameter_error(RC.HANDLE, 1)
        second = tester.run(CC.CONTEXT_SAVE, [session.handle]).parameters
        assert tester.run(CC.CONTEXT_LOAD, params=first).rc == parameter_error(RC.HANDLE, 1)
        assert tester.run(CC.CONTEXT_LOAD, params=second).rc == 0


def test_contexts_end_with_the_power_cycle(both: Both) -> None:
    for tester in both:
        key = key_of(tester, ecc_areas(SIGN))
        session = tester.start_session()
        contexts = [
            tester.run(CC.CONTEXT_SAVE, [handle]).parameters for handle in (key, session.handle)
        ]
        tester.reset()
        for context in contexts:
            answer = tester.run(CC.CONTEXT_LOAD, params=context)
            assert answer.rc == parameter_error(RC.INTEGRITY, 1)


def test_the_inner_wrapper_of_a_duplicate_is_authenticated(both: Both) -> None:
    for tester in both:
        policy = policy_of(ALG.SHA256, command_code(CC.DUPLICATE))
        handle = with_policy(tester, policy, attributes=USER_AUTH | NO_DA)
        public = tester.run(CC.READ_PUBLIC, [handle]).sized()
        session = session_with(tester, command_code(CC.DUPLICATE))
        cipher, key = areas.AES_128_CFB, bytes(range(16))
        out = tester.run(CC.DUPLICATE, [handle, RH.NULL], sized(key) + cipher, [session])
        blob = out.sized(1)
        parent = areas.loaded_primary(tester, areas.storage())
        for position in (0, 2, 33, 34, len(blob) - 1):
            wrong = bytearray(blob)
            wrong[position] ^= 1
            answer = areas.import_object(
                tester, parent, public, bytes(wrong), key=key, symmetric=cipher
            )
            expected = RC.SIZE if position < 2 else RC.INTEGRITY
            assert answer.rc == parameter_error(expected, 3), position
        answer = areas.import_object(tester, parent, public, blob, key=key, symmetric=cipher)
        assert answer.rc == 0


def test_private_parts_from_outside_belong_to_no_hierarchy(both: Both) -> None:
    for hierarchy in (RH.OWNER, RH.ENDORSEMENT, RH.PLATFORM):
        answer = agreed(both, areas.load_external, *ecc_areas(SIGN), hierarchy=hierarchy)
        assert answer.rc == parameter_error(RC.HIERARCHY, 3)


# 8. Fields in the wrong order, left out, or of the wrong form.


def test_a_creation_ticket_is_that_of_libtpms(pair: Pair) -> None:
    """The same key made by both has the same ticket, and no other order of its fields has."""
    template = areas.ecc(areas.OWN | SIGN | NO_DA)
    params = areas.create_parameters(template)
    made = pair.same(CC.CREATE_PRIMARY, (RH.OWNER,), params, 1)
    public, creation_hash = made.sized(), made.sized(2)
    name = areas.name_of(public)
    ticket = made.parameters[: -len(sized(name))][-len(words(0, 0, 0, 64)) - 64 :]

    def certify(object_hash: bytes, proof: bytes) -> tuple[Result, Result]:
        handles = (RH.NULL, 0x80000000)
        return pair.run(CC.CERTIFY_CREATION, handles, NONCE + sized(object_hash) + NONE + proof, 1)

    for answer in certify(creation_hash, ticket):
        assert answer.rc == 0
        assert sized(name) + sized(creation_hash) in answer.sized()
    for answer in certify(name[2:], ticket):
        assert answer.rc == parameter_error(RC.TICKET, 4)
    for answer in certify(creation_hash, words(ST.CREATION) + ticket[2:-1] + b"\0"):
        assert answer.rc == parameter_error(RC.TICKET, 4)


def test_ecdaa_has_a_count(pair: Pair) -> None:
    """In the scheme of a key and in that of a command; without it what follows is misread."""
    scheme = words(ALG.ECDAA, ALG.SHA256, 7)
    public, private = ecc_areas(SIGN, scheme)
    handle = pair.load((public, private))
    read = pair.same(CC.READ_PUBLIC, (handle,))
    assert (read.sized(), read.sized(1)) == (public, areas.name_of(public))
    pair.flush(handle)
    short = public.replace(scheme, scheme[:4])
    # What follows is taken for the count, and the next for a curve that only libtpms has.
    loaded = areas.load_external(pair.engine, short, private)
    assert loaded.rc == parameter_error(RC.CURVE, 2)
    assert areas.load_external(pair.swtpm, short, private).rc == parameter_error(RC.HASH, 2)
    handle = pair.load(ecc_areas(SIGN))
    ticket = words(ST.HASHCHECK) + RH.NULL.to_bytes(4) + sized(b"")
    params = sized(ZERO) + scheme[:4] + ticket
    answer = pair.engine.run(CC.SIGN, [handle], params, [Password()])
    assert answer.rc == parameter_error(RC.TAG, 3)


def test_all_of_an_index_is_certified_by_its_digest(pair: Pair) -> None:
    key = pair.load(rsa_areas(SIGN))
    area = Area(OWNER_RW | TPMA_NV.NO_DA)
    pair.same(CC.NV_DEFINE_SPACE, (RH.OWNER,), sized(b"") + sized(area.marshal()), 1)
    pair.same(CC.NV_WRITE, (RH.OWNER, INDEX), sized(b"contents") + words(0), 1)
    for size, form in ((8, ST.ATTEST_NV), (0, ST.ATTEST_NV_DIGEST)):
        params = NONCE + RSASSA + words(size, 0)
        for answer in pair.run(CC.NV_CERTIFY, (key, RH.OWNER, INDEX), params, 2):
            attested = answer.sized()
            assert attested[4:6] == words(form)
            name = sized(area.name(more=TPMA_NV.WRITTEN))
            hashed = hashlib.sha256(b"contents").digest()
            expected = words(0) + sized(b"contents") if size else sized(hashed)
            assert attested.endswith(name + expected)


OWNER_END, PLATFORM_START = 0x817FFFFF, 0x81800000


@pytest.mark.parametrize(
    ("by", "of", "persistent", "rc"),
    [
        (RH.OWNER, RH.OWNER, OWNER_END, 0),
        (RH.OWNER, RH.OWNER, PLATFORM_START, RC.RANGE | 0x140),
        (RH.OWNER, RH.ENDORSEMENT, OWNER_END, 0),
        (RH.OWNER, RH.PLATFORM, OWNER_END, RC.HIERARCHY | 0x200),
        (RH.PLATFORM, RH.PLATFORM, PLATFORM_START, 0),
        (RH.PLATFORM, RH.PLATFORM, OWNER_END, RC.RANGE | 0x140),
        (RH.PLATFORM, RH.OWNER, PLATFORM_START, RC.HIERARCHY | 0x200),
        (RH.OWNER, RH.NULL, OWNER_END, RC.ATTRIBUTES | 0x200),
    ],
)
def test_each_hierarchy_has_its_persistent_handles(
    both: Both, by: int, of: int, persistent: int, rc: int
) -> None:
    for tester in both:
        made = areas.create_primary(tester, areas.storage(), hierarchy=of)
        assert made.handle is not None
        params = persistent.to_bytes(4)
        answer = tester.run(CC.EVICT_CONTROL, [by, made.handle], params, [Password()])
        assert answer.rc == rc


# 9. Whatever remains.


def test_clear_removes_all_of_the_owner(both: Both) -> None:
    """Persistent objects of storage and endorsement, indices, authValues; not the platform's."""
    for tester in both:
        for hierarchy, by, persistent in (
            (RH.OWNER, RH.OWNER, 0x81000001),
            (RH.ENDORSEMENT, RH.OWNER, 0x81000002),
            (RH.PLATFORM, RH.PLATFORM, PLATFORM_START),
        ):
            made = areas.create_primary(tester, areas.storage(), hierarchy=hierarchy)
            assert made.handle is not None
            params = persistent.to_bytes(4)
            kept = tester.run(CC.EVICT_CONTROL, [by, made.handle], params, [Password()])
            assert kept.rc == 0
            areas.flush(tester, made.handle)
        assert define(tester, Area(OWNER_RW)).rc == 0
        of_platform = Area(nv_area.PLATFORM_RW | TPMA_NV.PLATFORMCREATE, index=INDEX + 1)
        assert define(tester, of_platform, by=RH.PLATFORM).rc == 0
        change = tester.run(CC.HIERARCHY_CHANGE_AUTH, [RH.OWNER], sized(b"auth"), [Password()])
        assert change.rc == 0
        assert tester.run(CC.CLEAR, [RH.LOCKOUT], auths=[Password()]).rc == 0
        for handle in (0x81000001, 0x81000002):
            assert tester.run(CC.READ_PUBLIC, [handle]).rc == RC.HANDLE | 0x100
        assert tester.run(CC.READ_PUBLIC, [PLATFORM_START]).rc == 0
        assert tester.run(CC.NV_READ_PUBLIC, [INDEX]).rc == RC.HANDLE | 0x100
        assert tester.run(CC.NV_READ_PUBLIC, [INDEX + 1]).rc == 0
        again = tester.run(CC.HIERARCHY_CHANGE_AUTH, [RH.OWNER], sized(b""), [Password()])
        assert again.rc == 0


def test_a_failed_try_is_stored_before_it_is_answered(
    tester: Tester, engine_peer: EnginePeer
) -> None:
    """Power cut right after the answer: nobody gets more tries than there are."""
    counter = struct.pack(">III", CAP.TPM_PROPERTIES, PT.LOCKOUT_COUNTER, 1)

    def tries() -> int:
        return int.from_bytes(tester.run(CC.GET_CAPABILITY, params=counter).parameters[-4:])

    for number in (1, 2):
        handle = with_policy(tester, b"", attributes=areas.FIXED | USER_AUTH, auth=b"auth")
        stored = engine_peer.stored
        refused = unseal(tester, handle, Password(b"guess"))
        assert refused.rc == session_error(RC.AUTH_FAIL, 1)
        assert engine_peer.stored != stored
        tester.reset()
        assert tries() >= number


EXTENDS = [*[0b11111] * 17, 0b11100, 0b11100, 0b01100, 0b01110, 0b00100, 0b00100, 0b11111]
RESETS = [*[0] * 16, 0b01111, 0, 0, 0, 0b00100, 0b00100, 0b00100, 0b01111]


def test_every_pcr_has_its_localities(both: Both) -> None:
    """Table 5 of the PC Client profile: who may extend and who may reset which PCR.

    What locality 4 resets, a D-RTM event does and no command.
    """
    one = (1).to_bytes(4) + words(ALG.SHA256) + ZERO
    for tester in both:
        for number in range(5):
            tester.peer.set_locality(number)
            for pcr in range(24):
                extended = tester.run(CC.PCR_EXTEND, [pcr], one, [Password()]).rc
                assert extended == (0 if EXTENDS[pcr] >> number & 1 else RC.LOCALITY), (
                    number,
                    pcr,
                    tester.peer,
                )
                reset = tester.run(CC.PCR_RESET, [pcr], b"", [Password()]).rc
                assert reset == (0 if RESETS[pcr] >> number & 1 else RC.LOCALITY), (
                    number,
                    pcr,
                    tester.peer,
                )
        tester.peer.set_locality(0)


def command_attributes(tester: Tester) -> dict[int, int]:
    """TPMA_CC by command code."""
    params = struct.pack(">III", CAP.COMMANDS, 0, 0xFFFF)
    listed = tester.run(CC.GET_CAPABILITY, params=params).parameters[9:]
    found = [int.from_bytes(listed[at : at + 4]) for at in range(0, len(listed), 4)]
    return {attributes & 0xFFFF: attributes for attributes in found}


def test_attributes_of_commands(both: Both) -> None:
    """flushed, rHandle and cHandles decide what a resource manager does with handles."""
    ours, theirs = (command_attributes(tester) for tester in both)
    assert ours[CC.FLUSH_CONTEXT] == CC.FLUSH_CONTEXT
    assert ours[CC.SEQUENCE_COMPLETE] == 1 << 24 | 1 << 25 | CC.SEQUENCE_COMPLETE
    assert set(theirs) <= set(ours)
    assert {code: ours[code] for code in theirs} == theirs


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


def test_shared_secrets_keep_their_leading_zeros(pair: Pair) -> None:
    """A coordinate of ZGen and of ZGen_2Phase is as long as the curve's field."""
    own = ecc_key()
    while True:
        peer = ec.generate_private_key(ec.SECP256R1())
        shared = own.exchange(ec.ECDH(), peer.public_key())
        if not shared[0]:
            break
    x, y = point(peer.public_key())
    handle = pair.load(ecc_areas(DECRYPT))
    there = sized(sized(x) + sized(y))
    z = pair.same(CC.ECDH_ZGEN, (handle,), there, 1)
    assert Result(0, None, z.sized()).sized() == shared
    answers = pair.run(CC.EC_EPHEMERAL, (), words(ECC_CURVE.NIST_P256))
    for tester, ephemeral in zip((pair.engine, pair.swtpm), answers, strict=True):
        params = there + there + words(ALG.ECDH) + ephemeral.parameters[-2:]
        z = tester.run(CC.ZGEN_2PHASE, [handle], params, [Password()])
        assert z.rc == 0
        assert Result(0, None, z.sized()).sized() == shared


def test_what_is_not_offered_is_not_half_offered(tester: Tester) -> None:
    """Post-quantum algorithms were created, but forgotten by the commands that use keys."""
    listed = tester.run(CC.GET_CAPABILITY, params=struct.pack(">III", CAP.ALGS, 0, 0xFFFF))
    algorithms = {
        int.from_bytes(listed.parameters[at : at + 2]) for at in range(9, len(listed.parameters), 6)
    }
    for absent in (0x00A0, 0x00A1, 0x00A2):
        assert absent not in algorithms
        answer = tester.run(CC.TEST_PARMS, params=words(absent, ALG.NULL, 2))
        assert answer.rc == parameter_error(RC.TYPE, 1)
    for key_encapsulation in (0x1A7, 0x1A8):
        assert tester.run(key_encapsulation).rc == RC.COMMAND_CODE

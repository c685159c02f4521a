"""Mistakes of other TPMs, shown not to be made here: proofs that prove nothing.

Tickets, attestations, and what leaves a TPM to come back.
"""

import hashlib

import pytest

from tests.tpm import areas
from tests.tpm.agreement import handle_error, parameter_error
from tests.tpm.areas import DECRYPT, NO_DA, NONE, RESTRICTED, SIGN, USER_AUTH, words
from tests.tpm.commands.nv_area import INDEX, OWNER_RW, Area
from tests.tpm.commands.policy_steps import (
    command_code,
    policy_digest,
    policy_of,
    session_with,
)
from tests.tpm.harness import Password, Result, Tester, digest, sized
from tests.tpm.known_keys import P2, Pair, ecc_areas, hmac_areas, rsa_areas
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.attributes import TPMA_NV
from vtpmd.tpm.wire.constants import ALG, CC, RH, SE, ST

Both = tuple[Tester, Tester]
ZERO = bytes(32)
RSASSA = words(ALG.RSASSA, ALG.SHA256)
NONCE = sized(b"nonce")


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


def test_a_saved_context_is_authenticated(tester: Tester) -> None:
    """Every single bit, and every field beside the blob."""
    key = areas.loaded_external(tester, *ecc_areas(SIGN))
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
        key = areas.loaded_external(tester, *ecc_areas(SIGN))
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
        handle = areas.loaded_sealed(tester, policy, attributes=USER_AUTH | NO_DA)
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

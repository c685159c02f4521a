"""Part 3, chapter 21: which commands are audited, and what the digests are of."""

import hashlib
import struct

import pytest

from tests.tpm.areas import NONE, SIGN, loaded_external, words
from tests.tpm.harness import (
    EnginePeer,
    Password,
    Result,
    Tester,
    digest,
    engine_state,
    sized,
)
from tests.tpm.known_keys import P1, P2, P3, Pair, rsa_areas
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.constants import ALG, CC, RH

OWNER, ENDORSEMENT, NULL = int(RH.OWNER), int(RH.ENDORSEMENT), int(RH.NULL)
SET = int(CC.SET_COMMAND_CODE_AUDIT_STATUS)


def codes(*listed: int) -> bytes:
    """TPML_CC."""
    return len(listed).to_bytes(4) + b"".join(code.to_bytes(4) for code in listed)


def status(alg: int = ALG.NULL, added: bytes = codes(), removed: bytes = codes()) -> bytes:
    """Parameters of TPM2_SetCommandCodeAuditStatus."""
    return words(alg) + added + removed


def audited(pair: Pair, signer: int = NULL) -> tuple[int, int, bytes, bytes]:
    """(auditCounter, digestAlg, auditDigest, commandDigest), on which both agree."""
    params = words(0) + (NONE if signer == NULL else words(ALG.RSASSA, ALG.SHA256))
    handles = (ENDORSEMENT, signer)
    answers = pair.run(CC.GET_COMMAND_AUDIT_DIGEST, handles, params, 2)
    ours, theirs = (parsed(answer) for answer in answers)
    assert ours == theirs
    return ours


def parsed(answer: Result) -> tuple[int, int, bytes, bytes]:
    """What a TPMS_ATTEST of command audit says."""
    attested = answer.sized()
    rest = attested[6:]
    for _ in range(2):
        rest = rest[2 + int.from_bytes(rest[:2]) :]
    rest = rest[25:]
    digests = Result(0, None, rest[10:])
    return (
        int.from_bytes(rest[:8]),
        int.from_bytes(rest[8:10]),
        digests.sized(),
        digests.sized(1),
    )


def command_digest(alg: int, *listed: int) -> bytes:
    """The digest of a list of commands."""
    return digest(alg, *(code.to_bytes(4) for code in listed))


def extended(alg: int, before: bytes, code: int, names: bytes, params: bytes) -> bytes:
    """An audit digest after a command without response parameters."""
    cp_hash = digest(alg, code.to_bytes(4), names, params)
    return digest(alg, before, cp_hash, digest(alg, bytes(4), code.to_bytes(4)))


def test_from_the_start_only_changes_of_the_audit_are_audited(pair: Pair) -> None:
    listed = hashlib.sha512(SET.to_bytes(4)).digest()
    assert audited(pair) == (0, ALG.SHA512, b"", listed)


def test_what_is_added_and_removed(pair: Pair) -> None:
    """Removing goes last; Shutdown and what is not implemented stays out, and Set stays in."""
    added = codes(CC.STIR_RANDOM, CC.GET_RANDOM, CC.SHUTDOWN, 0x9999)
    removed = codes(CC.GET_RANDOM, SET, 0x9999)
    first = status(added=added, removed=removed)
    pair.same(SET, (OWNER,), first, 1)
    stir = sized(b"seed")
    pair.same(CC.STIR_RANDOM, params=stir)
    pair.run(CC.GET_RANDOM, params=words(4))
    alg = ALG.SHA512
    chain = extended(alg, bytes(64), SET, OWNER.to_bytes(4), first)
    chain = extended(alg, chain, CC.STIR_RANDOM, b"", stir)
    assert audited(pair) == (1, alg, chain, command_digest(alg, SET, CC.STIR_RANDOM))
    last = status(removed=codes(CC.STIR_RANDOM))
    pair.same(SET, (OWNER,), last, 1)
    pair.same(CC.STIR_RANDOM, params=stir)
    chain = extended(alg, chain, SET, OWNER.to_bytes(4), last)
    assert audited(pair) == (1, alg, chain, command_digest(alg, SET))


def test_commands_without_sessions(pair: Pair) -> None:
    """They can be audited as well (21.1); their handles are in the response, not in its rpHash."""
    listed = (CC.FLUSH_CONTEXT, CC.CONTEXT_SAVE)
    added = status(added=codes(*listed))
    pair.same(SET, (OWNER,), added, 1)
    alg = ALG.SHA512
    chain = extended(alg, bytes(64), SET, OWNER.to_bytes(4), added)
    flushed = [tester.start_session().handle.to_bytes(4) for tester in (pair.engine, pair.swtpm)]
    assert flushed[0] == flushed[1]
    pair.same(CC.FLUSH_CONTEXT, params=flushed[0])
    chain = extended(alg, chain, CC.FLUSH_CONTEXT, b"", flushed[0])
    assert audited(pair) == (1, alg, chain, command_digest(alg, SET, *sorted(listed)))
    handle = pair.load(rsa_areas(SIGN))
    before = chain
    for tester in (pair.engine, pair.swtpm):
        saved = tester.run(CC.CONTEXT_SAVE, [handle])
        cp_hash = digest(alg, CC.CONTEXT_SAVE.to_bytes(4), tester.name(handle))
        rp_hash = digest(alg, bytes(4), CC.CONTEXT_SAVE.to_bytes(4), saved.parameters)
        answer = tester.run(
            CC.GET_COMMAND_AUDIT_DIGEST,
            [ENDORSEMENT, NULL],
            words(0) + NONE,
            [Password(), Password()],
        )
        assert parsed(answer)[2] == digest(alg, before, cp_hash, rp_hash)


def test_startup_begins_an_audit_log(pair: Pair) -> None:
    """The first command of all after a TPM Reset, before there was any digest (21.1)."""
    added = status(added=codes(CC.STARTUP))
    pair.same(SET, (OWNER,), added, 1)
    for tester in (pair.engine, pair.swtpm):
        tester.reset()
    chain = extended(ALG.SHA512, bytes(64), CC.STARTUP, b"", words(0))
    assert audited(pair) == (2, ALG.SHA512, chain, command_digest(ALG.SHA512, SET, CC.STARTUP))


def test_nothing_is_audited_in_failure_mode(tester: Tester) -> None:
    assert isinstance(tester.peer, EnginePeer)
    added = status(added=codes(CC.GET_CAPABILITY))
    assert tester.run(SET, [OWNER], added, [Password()]).rc == 0
    tester.peer.engine.enter_failure_mode()
    before = engine_state(tester.peer.engine)
    assert tester.run(CC.GET_CAPABILITY, params=struct.pack(">III", 6, 0x100, 1)).rc == 0
    assert engine_state(tester.peer.engine) == before


def test_a_failed_command_is_not_audited(pair: Pair) -> None:
    pair.same(SET, (OWNER,), status(added=codes(CC.STIR_RANDOM)), 1)
    before = audited(pair)
    assert pair.refuse(CC.STIR_RANDOM, params=sized(bytes(200))) == RC.SIZE | P1
    assert audited(pair) == before


def test_another_hash_starts_over(pair: Pair) -> None:
    """The change itself is not in the new digest; the counter goes on with the next command."""
    pair.same(SET, (OWNER,), status(added=codes(CC.STIR_RANDOM)), 1)
    both = status(ALG.SHA256, added=codes(CC.GET_RANDOM))
    assert pair.refuse(SET, (OWNER,), both, 1) == RC.VALUE | P1
    assert pair.refuse(SET, (OWNER,), status(ALG.SHA256, removed=codes(1)), 1) == RC.VALUE | P1
    pair.same(SET, (OWNER,), status(ALG.SHA256), 1)
    listed = command_digest(ALG.SHA256, SET, CC.STIR_RANDOM)
    assert audited(pair) == (1, ALG.SHA256, b"", listed)
    pair.same(CC.STIR_RANDOM, params=sized(b"seed"))
    chain = extended(ALG.SHA256, bytes(32), CC.STIR_RANDOM, b"", sized(b"seed"))
    assert audited(pair) == (2, ALG.SHA256, chain, listed)
    pair.same(SET, (OWNER,), status(ALG.SHA256, removed=codes(CC.STIR_RANDOM)), 1)
    assert audited(pair)[0] == 2


def test_a_signed_digest_begins_a_new_one(pair: Pair) -> None:
    pair.same(SET, (OWNER,), status(added=codes(CC.STIR_RANDOM)), 1)
    key = pair.load(rsa_areas(SIGN))
    reported = audited(pair, key)
    assert reported[2]
    assert audited(pair) == (1, ALG.SHA512, b"", reported[3])
    pair.same(CC.STIR_RANDOM, params=sized(b"seed"))
    chain = extended(ALG.SHA512, bytes(64), CC.STIR_RANDOM, b"", sized(b"seed"))
    assert audited(pair)[:3] == (2, ALG.SHA512, chain)


def test_reporting_can_be_audited_itself(pair: Pair) -> None:
    pair.same(SET, (OWNER,), status(added=codes(CC.GET_COMMAND_AUDIT_DIGEST)), 1)
    assert audited(pair, pair.load(rsa_areas(SIGN)))[0] == 1
    for answer in pair.run(CC.GET_COMMAND_AUDIT_DIGEST, (ENDORSEMENT, NULL), words(0) + NONE, 2):
        counter, _, chain, _ = parsed(answer)
        assert (counter, len(chain)) == (2, 64)


@pytest.mark.parametrize(
    ("handle", "params", "rc"),
    [
        (ENDORSEMENT, status(), RC.VALUE | 0x100),
        (OWNER, status(0x0010 + 2), RC.HASH | P1),
        (OWNER, words(ALG.NULL) + (0xFFFF).to_bytes(4), RC.SIZE | P2),
        (OWNER, words(ALG.NULL) + codes(), RC.INSUFFICIENT | P3),
    ],
)
def test_what_is_refused(pair: Pair, handle: int, params: bytes, rc: int) -> None:
    assert hex(pair.refuse(SET, (handle,), params, 1)) == hex(rc)


def test_what_is_audited_survives_a_reset_but_the_digest_does_not(pair: Pair) -> None:
    pair.same(SET, (int(RH.PLATFORM),), status(added=codes(CC.STIR_RANDOM)), 1)
    listed = audited(pair)[3]
    pair.engine.reset()
    pair.swtpm.reset()
    assert audited(pair) == (1, ALG.SHA512, b"", listed)


def test_without_storage_nothing_changes(tester: Tester) -> None:
    assert isinstance(tester.peer, EnginePeer)
    tester.peer.engine.nv_available = False
    before = tester.peer.engine.permanent()
    for params in (status(ALG.SHA1), status(added=codes(CC.STIR_RANDOM))):
        assert tester.run(SET, [OWNER], params, [Password()]).rc == RC.NV_UNAVAILABLE
    assert tester.peer.engine.permanent() == before


def test_a_log_that_can_not_be_counted_is_not_begun(tester: Tester) -> None:
    """Neither by the first audited command nor by one that ends a log and begins the next."""
    assert isinstance(tester.peer, EnginePeer)
    listed = codes(CC.GET_COMMAND_AUDIT_DIGEST, CC.PCR_EXTEND)
    extend = CC.PCR_EXTEND, [0], (1).to_bytes(4) + words(ALG.SHA256) + bytes(32), [Password()]
    assert tester.run(SET, [OWNER], status(added=listed), [Password()]).rc == 0
    signer = loaded_external(tester, *rsa_areas(SIGN))
    handles, both = (ENDORSEMENT, signer), [Password(), Password()]
    params = words(0) + words(ALG.RSASSA, ALG.SHA256)
    counted = parsed(tester.run(CC.GET_COMMAND_AUDIT_DIGEST, handles, params, both))[0]
    tester.peer.engine.nv_available = False
    # A log has begun with the command that has ended the one before: it goes on.
    assert tester.run(*extend).rc == 0
    refused = tester.run(CC.GET_COMMAND_AUDIT_DIGEST, handles, params, both)
    assert refused.rc == RC.NV_UNAVAILABLE
    tester.peer.engine.nv_available = True
    told = parsed(tester.run(CC.GET_COMMAND_AUDIT_DIGEST, handles, params, both))
    assert told[0] == counted + 1
    tester.reset()
    tester.peer.engine.nv_available = False
    assert tester.run(*extend).rc == RC.NV_UNAVAILABLE
    tester.peer.engine.nv_available = True
    assert tester.run(*extend).rc == 0

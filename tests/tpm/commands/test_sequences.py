"""Part 3, chapter 17: data in pieces gives what it gives in one."""

import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC

from tests.tpm import areas
from tests.tpm.areas import DECRYPT, NONE, SIGN, words
from tests.tpm.harness import HASH_NAMES, EnginePeer, Password, Session, Tester, sized
from tests.tpm.known_keys import (
    CIPHER_KEY,
    H1,
    H2,
    HMAC_KEY,
    P1,
    P2,
    Pair,
    cipher_areas,
    hmac_areas,
    rsa_areas,
)
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.constants import ALG, CC, RH, ST

OWNER, NULL = int(RH.OWNER), int(RH.NULL)
GENERATED = b"\xffTCG"
NO_TICKET = words(ST.HASHCHECK) + RH.NULL.to_bytes(4) + words(0)
HASH_ALGS = [ALG.SHA1, ALG.SHA256, ALG.SHA384, ALG.SHA512]


def started(pair: Pair, code: int, handles: tuple[int, ...], params: bytes) -> int:
    """The handle of a sequence of both, with an empty authValue and no Name."""
    ours, _ = pair.run(code, handles, params, len(handles))
    assert ours.rc == 0, hex(ours.rc)
    assert ours.handle is not None
    pair.engine.names[ours.handle] = pair.swtpm.names[ours.handle] = b""
    return ours.handle


def hash_sequence(pair: Pair, alg: int) -> int:
    """A hash sequence, or an event sequence for TPM_ALG_NULL."""
    return started(pair, CC.HASH_SEQUENCE_START, (), sized(b"") + words(alg))


def complete(data: bytes, hierarchy: int = NULL) -> bytes:
    """Parameters of TPM2_SequenceComplete."""
    return sized(data) + hierarchy.to_bytes(4)


@pytest.mark.parametrize("alg", HASH_ALGS)
def test_hash_sequences_and_their_tickets(pair: Pair, alg: int) -> None:
    """A ticket takes a first piece of four octets at least that are not TPM_GENERATED_VALUE."""
    cases = {
        (b"message",): True,
        (b"mess", b"age"): True,
        (b"",): False,
        (b"abc",): False,
        (b"", b"message"): False,
        (b"mes", b"sage"): False,
        (GENERATED,): False,
        (GENERATED, b"more"): False,
        (b"text", GENERATED): True,
        (bytes(1024), bytes(1024), bytes(1000)): True,
    }
    for pieces, safe in cases.items():
        for hierarchy in (OWNER, NULL):
            handle = hash_sequence(pair, alg)
            for piece in pieces[:-1]:
                pair.same(CC.SEQUENCE_UPDATE, (handle,), sized(piece), 1)
            params = complete(pieces[-1], hierarchy)
            answer = pair.same(CC.SEQUENCE_COMPLETE, (handle,), params, 1)
            expected = hashlib.new(HASH_NAMES[ALG(alg)], b"".join(pieces)).digest()
            assert answer.sized() == expected
            ticket = answer.parameters[2 + len(expected) :]
            assert (ticket != NO_TICKET) == (safe and hierarchy != NULL)
            rc = pair.refuse(CC.SEQUENCE_COMPLETE, (handle,), params, 1)
            assert rc == RC.REFERENCE_H0


def test_the_ticket_of_a_sequence_is_that_of_hash(pair: Pair) -> None:
    handle = hash_sequence(pair, ALG.SHA256)
    pair.same(CC.SEQUENCE_UPDATE, (handle,), sized(b"message"), 1)
    pieces = pair.same(CC.SEQUENCE_COMPLETE, (handle,), complete(b" twice", OWNER), 1)
    params = sized(b"message twice") + words(ALG.SHA256) + OWNER.to_bytes(4)
    assert pieces.parameters == pair.same(CC.HASH, params=params).parameters


@pytest.mark.parametrize("alg", HASH_ALGS)
def test_hmac_sequences(pair: Pair, alg: int) -> None:
    key = pair.load(hmac_areas(SIGN | DECRYPT))
    for pieces in ((b"",), (b"mes", b"sage"), (bytes(1024), b"x", b"")):
        handle = started(pair, CC.HMAC_START, (key,), sized(b"") + words(alg))
        for piece in pieces[:-1]:
            pair.same(CC.SEQUENCE_UPDATE, (handle,), sized(piece), 1)
        params = complete(pieces[-1], OWNER)
        answer = pair.same(CC.SEQUENCE_COMPLETE, (handle,), params, 1)
        mac = hmac.digest(HMAC_KEY, b"".join(pieces), HASH_NAMES[ALG(alg)])
        assert answer.parameters == sized(mac) + NO_TICKET


def test_cmac_sequences(pair: Pair) -> None:
    key = pair.load(cipher_areas(SIGN, ALG.CMAC))
    for pieces in ((b"",), (b"mes", b"sage"), (bytes(16), b""), (bytes(32), b"x", bytes(15))):
        handle = started(pair, CC.MAC_START, (key,), sized(b"") + words(ALG.NULL))
        for piece in pieces[:-1]:
            pair.same(CC.SEQUENCE_UPDATE, (handle,), sized(piece), 1)
        answer = pair.same(CC.SEQUENCE_COMPLETE, (handle,), complete(pieces[-1]), 1)
        oracle = CMAC(AES(CIPHER_KEY))
        oracle.update(b"".join(pieces))
        assert answer.parameters == sized(oracle.finalize()) + NO_TICKET


def test_the_key_of_a_sequence_may_be_gone(pair: Pair) -> None:
    key = pair.load(hmac_areas(SIGN | DECRYPT))
    handle = started(pair, CC.HMAC_START, (key,), sized(b"") + words(ALG.SHA256))
    pair.flush(key)
    answer = pair.same(CC.SEQUENCE_COMPLETE, (handle,), complete(b"message"), 1)
    assert answer.sized() == hmac.digest(HMAC_KEY, b"message", "sha256")


def test_event_sequences_extend(pair: Pair) -> None:
    data = b"a long event"
    for pcr in (16, 0, NULL):
        handle = hash_sequence(pair, ALG.NULL)
        before = pcr_16(pair)
        pair.same(CC.SEQUENCE_UPDATE, (handle,), sized(data[:5]), 1)
        params = sized(data[5:])
        answer = pair.same(CC.EVENT_SEQUENCE_COMPLETE, (pcr, handle), params, 2)
        digests = b"".join(
            words(alg) + hashlib.new(HASH_NAMES[alg], data).digest() for alg in HASH_ALGS
        )
        assert answer.parameters == len(HASH_ALGS).to_bytes(4) + digests
        extended = hashlib.sha256(before + hashlib.sha256(data).digest()).digest()
        assert pcr_16(pair) == (extended if pcr == 16 else before)
        rc = pair.refuse(CC.SEQUENCE_UPDATE, (handle,), sized(b""), 1)
        assert rc == RC.REFERENCE_H0


def pcr_16(pair: Pair) -> bytes:
    """The value of PCR 16 in the bank of SHA-256."""
    selection = (1).to_bytes(4) + words(ALG.SHA256) + b"\3\0\0\1"
    return pair.run(CC.PCR_READ, params=selection)[0].parameters[-32:]


def test_an_event_sequence_respects_localities(pair: Pair) -> None:
    handle = hash_sequence(pair, ALG.NULL)
    for pcr in (17, 20, 22):
        rc = pair.refuse(CC.EVENT_SEQUENCE_COMPLETE, (pcr, handle), sized(b""), 2)
        assert rc == RC.LOCALITY
    pair.same(CC.EVENT_SEQUENCE_COMPLETE, (NULL, handle), sized(b""), 2)


def test_sequences_are_completed_by_their_own_command(pair: Pair) -> None:
    event, plain = hash_sequence(pair, ALG.NULL), hash_sequence(pair, ALG.SHA1)
    rsa = pair.load(rsa_areas(SIGN))
    code = CC.EVENT_SEQUENCE_COMPLETE
    assert pair.refuse(CC.SEQUENCE_COMPLETE, (event,), complete(b""), 1) == RC.MODE | H1
    assert pair.refuse(CC.SEQUENCE_COMPLETE, (rsa,), complete(b""), 1) == RC.MODE | H1
    assert pair.refuse(code, (16, plain), sized(b""), 2) == RC.MODE | H2
    assert pair.refuse(code, (17, plain), sized(b""), 2) == RC.MODE | H2
    assert pair.refuse(code, (16, rsa), sized(b""), 2) == RC.MODE | H2


def test_only_sequences_are_updated(tester: Tester) -> None:
    """Debian's libtpms says that of the parameter; later versions of the handle, as we do."""
    loaded = areas.load_external(tester, *rsa_areas(SIGN))
    assert loaded.handle is not None
    answer = tester.run(CC.SEQUENCE_UPDATE, [loaded.handle], sized(b""), [Password()])
    assert answer.rc == RC.MODE | H1


def test_a_sequence_is_no_key(pair: Pair) -> None:
    handle = hash_sequence(pair, ALG.SHA256)
    ticket = words(ST.HASHCHECK) + RH.NULL.to_bytes(4) + words(0)
    digest = sized(bytes(32))
    expected = {
        (CC.MAC, sized(b"") + NONE): RC.TYPE | H1,
        (CC.MAC_START, sized(b"") + NONE): RC.TYPE | H1,
        (CC.SIGN, digest + NONE + ticket): RC.KEY | H1,
        (CC.UNSEAL, b""): RC.TYPE | H1,
        (CC.RSA_DECRYPT, sized(b"") + NONE + sized(b"")): RC.KEY | H1,
        (CC.QUOTE, sized(b"") + NONE + bytes(4)): RC.KEY | H1,
        (CC.ECDH_ZGEN, sized(words(0, 0))): RC.KEY | H1,
        (CC.COMMIT, sized(words(0, 0)) + words(0, 0)): RC.KEY | H1,
    }
    for (code, params), rc in expected.items():
        assert hex(pair.refuse(code, (handle,), params, 1)) == hex(rc), code
    assert pair.refuse(CC.READ_PUBLIC, (handle,)) == RC.SEQUENCE


def test_sequences_take_slots(pair: Pair) -> None:
    handles = [hash_sequence(pair, ALG.SHA256) for _ in range(3)]
    for params in (sized(b"") + words(ALG.SHA1), sized(b"") + NONE):
        assert pair.refuse(CC.HASH_SEQUENCE_START, params=params) == RC.OBJECT_MEMORY
    pair.flush(handles[1])
    key = pair.load(hmac_areas(SIGN | DECRYPT))
    params = sized(b"") + words(ALG.SHA256)
    assert pair.refuse(CC.HMAC_START, (key,), params, 1) == RC.OBJECT_MEMORY
    pair.same(CC.SEQUENCE_COMPLETE, (handles[0],), complete(b""), 1)
    assert started(pair, CC.HMAC_START, (key,), params) == handles[0]


@pytest.mark.parametrize(
    ("params", "rc"),
    [
        (sized(bytes(65)) + words(ALG.SHA1), RC.SIZE | P1),
        (sized(b"") + words(ALG.HMAC), RC.HASH | P2),
        (sized(b"") + words(ALG.SM3_256), RC.HASH | P2),
    ],
)
def test_what_a_start_refuses(pair: Pair, params: bytes, rc: int) -> None:
    assert hex(pair.refuse(CC.HASH_SEQUENCE_START, params=params)) == hex(rc)


def test_the_auth_value_of_a_sequence(pair: Pair) -> None:
    """Passwords, HMACs over the empty Name, never policies; and no lockout for guesses."""
    params = sized(b"secret\0") + words(ALG.SHA256)
    for tester in (pair.engine, pair.swtpm):
        answer = tester.run(CC.HASH_SEQUENCE_START, params=params)
        assert answer.handle is not None
        handle = answer.handle
        tester.names[handle] = b""
        update = sized(b"data")

        def attempt(auth: Password | Session, peer: Tester = tester, target: int = handle) -> int:
            return peer.run(CC.SEQUENCE_UPDATE, [target], sized(b"data"), [auth]).rc

        for _ in range(5):
            assert attempt(Password(b"guess")) == RC.BAD_AUTH | 0x800 | 0x100
        assert attempt(Password(b"secret")) == 0
        session = tester.start_session()
        session.auth_value = b"secret"
        assert attempt(session) == 0
        policy = tester.start_session(1)
        assert attempt(policy) == RC.AUTH_UNAVAILABLE
        done = tester.run(CC.SEQUENCE_COMPLETE, [handle], complete(b""), [Password(b"secret")])
        assert done.sized() == hashlib.sha256(update[2:] * 2).digest()


@pytest.mark.parametrize("kind", ["hash", "event", "hmac", "cmac"])
def test_a_saved_sequence_goes_on(tester: Tester, kind: str) -> None:
    """From a saved context, several times, and from the TPM's own stored state."""
    assert isinstance(tester.peer, EnginePeer)
    key = None
    if kind in ("hmac", "cmac"):
        pair = hmac_areas(SIGN | DECRYPT) if kind == "hmac" else cipher_areas(SIGN, ALG.CMAC)
        key = areas.load_external(tester, *pair).handle
        assert key is not None
        scheme = words(ALG.SHA256 if kind == "hmac" else ALG.CMAC)
        answer = tester.run(CC.MAC_START, [key], sized(b"") + scheme, [Password()])
    else:
        alg = words(ALG.SHA256) if kind == "hash" else NONE
        answer = tester.run(CC.HASH_SEQUENCE_START, params=sized(b"") + alg)
    assert answer.handle is not None
    handle, first, second = answer.handle, b"first" * 50, b"second"
    tester.names[handle] = b""
    assert tester.run(CC.SEQUENCE_UPDATE, [handle], sized(first), [Password()]).rc == 0
    saved = tester.run(CC.CONTEXT_SAVE, [handle])
    assert saved.rc == 0, hex(saved.rc)
    areas.flush(tester, handle)

    def finish(target: int) -> bytes:
        if kind == "event":
            code, handles, auths = CC.EVENT_SEQUENCE_COMPLETE, [NULL, target], 2
            params = sized(second)
        else:
            code, handles, auths, params = CC.SEQUENCE_COMPLETE, [target], 1, complete(second)
        answer = tester.run(code, handles, params, [Password()] * auths)
        assert answer.rc == 0, hex(answer.rc)
        return answer.parameters

    data = first + second
    oracle = CMAC(AES(CIPHER_KEY))
    oracle.update(data)
    expected = {
        "hash": sized(hashlib.sha256(data).digest()),
        "hmac": sized(hmac.digest(HMAC_KEY, data, "sha256")),
        "cmac": sized(oracle.finalize()),
        "event": b"".join(
            words(alg) + hashlib.new(HASH_NAMES[alg], data).digest() for alg in HASH_ALGS
        ),
    }[kind]
    target = 0
    for _ in range(2):
        loaded = tester.run(CC.CONTEXT_LOAD, params=saved.parameters)
        assert loaded.rc == 0, hex(loaded.rc)
        assert loaded.handle is not None
        target = loaded.handle
        tester.names[target] = b""
        engine = tester.peer.engine
        permanent, volatile = engine.permanent(), engine.volatile()
        assert expected in finish(target)
    restored = EnginePeer.restored(permanent)
    restored.engine.power_off()
    restored.engine.power_on(volatile)
    tester.peer = restored
    assert expected in finish(target)

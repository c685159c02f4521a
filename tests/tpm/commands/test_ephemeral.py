"""Part 3, chapter 19: commitments, each good for one signature."""

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.tpm.areas import NONE, SIGN, load_external, words
from tests.tpm.harness import EnginePeer, Password, Result, Tester, sized
from tests.tpm.known_keys import H1, P1, P2, P3, Pair, ecc_areas, ecc_key, point, rsa_areas
from vtpmd.tpm.crypto import ecc
from vtpmd.tpm.crypto.ecc import Point
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.constants import ALG, CC, ECC_CURVE, RH, ST

ECDAA = words(ALG.ECDAA, ALG.SHA256, 0)
NO_POINT = sized(words(0, 0))
NO_TICKET = words(ST.HASHCHECK) + RH.NULL.to_bytes(4) + words(0)
DIGEST = hashlib.sha256(b"message").digest()
CURVES = [ECC_CURVE.NIST_P256, ECC_CURVE.NIST_P384, ECC_CURVE.NIST_P521]
WINDOW = 128


def commit(p1: bytes = NO_POINT, s2: bytes = b"", y2: bytes = b"") -> bytes:
    """Parameters of TPM2_Commit."""
    return p1 + sized(s2) + sized(y2)


def hashed_point(curve: int) -> tuple[bytes, bytes]:
    """(s2, y2) whose point is on the curve."""
    found = ecc.CURVES[curve]
    for number in range(100):
        s2 = b"base %d" % number
        x = int.from_bytes(hashlib.sha256(s2).digest()) % found.p
        square = (x**3 + found.a * x + found.b) % found.p
        y = pow(square, (found.p + 1) // 4, found.p)
        if y * y % found.p == square:
            return s2, found.octets(y)
    raise AssertionError("no point")


def affine(octets: bytes) -> Point:
    """A TPMS_ECC_POINT."""
    parsed = Result(0, None, octets)
    return Point(int.from_bytes(parsed.sized()), int.from_bytes(parsed.sized(1)))


def sign(tester: Tester, handle: int, counter: int, digest: bytes = DIGEST) -> Result:
    """TPM2_Sign with a commitment."""
    scheme = words(ALG.ECDAA, ALG.SHA256, counter & 0xFFFF)
    return tester.run(CC.SIGN, [handle], sized(digest) + scheme + NO_TICKET, [Password()])


def is_signed(curve: int, answer: Result, base: Point, public: Point, commitment: Point) -> bool:
    """Whether [s]B - [T]K is the commitment, as whoever verifies ECDAA finds (Part 1, 44.3.3)."""
    found = ecc.CURVES[curve]
    rest = Result(0, None, answer.parameters[4:])
    t = int.from_bytes(hashlib.sha256(rest.sized() + DIGEST).digest()) % found.n
    left = ecc.multiply(found, int.from_bytes(rest.sized(1)), base)
    right = ecc.multiply(found, found.n - t, public)
    return ecc.add(found, left, right) == commitment


@pytest.mark.parametrize("peer", ["engine", "swtpm"])
@pytest.mark.parametrize("curve", CURVES)
def test_a_commitment_and_its_signature(pair: Pair, peer: str, curve: int) -> None:
    """The equation of whoever verifies holds, for signatures of swtpm's as well."""
    tester: Tester = getattr(pair, peer)
    handle = pair.load(ecc_areas(SIGN, ECDAA, curve))
    found, key = ecc.CURVES[curve], ecc_key(curve)
    public = Point(*(int.from_bytes(c) for c in point(key.public_key())))
    answer = tester.run(CC.COMMIT, [handle], commit(), [Password()])
    assert (answer.sized(), answer.sized(1)) == (words(0, 0), words(0, 0))
    counter = int.from_bytes(answer.parameters[-2:])
    signature = sign(tester, handle, counter)
    assert is_signed(curve, signature, found.g, public, affine(answer.sized(2)))
    s2, y2 = hashed_point(curve)
    p1 = ec.generate_private_key(key.curve).public_key()
    x, y = point(p1)
    params = commit(sized(sized(x) + sized(y)), s2, y2)
    answer = tester.run(CC.COMMIT, [handle], params, [Password()])
    k, l, e = (affine(answer.sized(number)) for number in range(3))  # noqa: E741
    base = Point(int.from_bytes(hashlib.sha256(s2).digest()) % found.p, int.from_bytes(y2))
    d = key.private_numbers().private_value
    assert k == ecc.multiply(found, d, base)
    assert found.contains(e)
    signature = sign(tester, handle, int.from_bytes(answer.parameters[-2:]))
    assert is_signed(curve, signature, base, k, l)
    assert not is_signed(curve, signature, base, k, e)


def test_with_base_only_there_is_no_e(pair: Pair) -> None:
    handle = pair.load(ecc_areas(SIGN, ECDAA))
    for answer in pair.run(CC.COMMIT, (handle,), commit(NO_POINT, *hashed_point(3)), 1):
        assert answer.sized(2) == words(0, 0)
        assert len(answer.sized(0)) == len(answer.sized(1)) == 68


def test_a_commitment_serves_once(pair: Pair) -> None:
    handle = pair.load(ecc_areas(SIGN, ECDAA))
    ours, theirs = pair.run(CC.COMMIT, (handle,), commit(), 1)
    for tester, answer in ((pair.engine, ours), (pair.swtpm, theirs)):
        counter = int.from_bytes(answer.parameters[-2:])
        for wrong in (counter + 1, counter - 1, counter + WINDOW, counter - WINDOW):
            assert sign(tester, handle, wrong).rc == RC.VALUE
        assert sign(tester, handle, counter).rc == 0
        assert sign(tester, handle, counter).rc == RC.VALUE


def test_commitments_are_outstanding_in_any_order(tester: Tester) -> None:
    """As many as the window has, and past the 16 bits of the counter."""
    assert isinstance(tester.peer, EnginePeer)
    tester.peer.engine._tpm.reset.commit_counter = 0xFFFF - 40
    loaded = load_external(tester, *ecc_areas(SIGN, ECDAA))
    assert loaded.handle is not None
    handle = loaded.handle
    counters = []
    for _ in range(WINDOW + 2):
        answer = tester.run(CC.COMMIT, [handle], commit(), [Password()])
        counters.append(int.from_bytes(answer.parameters[-2:]))
    assert counters[0] == 0xFFFF - 40
    assert counters[-1] == (counters[0] + WINDOW + 1) & 0xFFFF
    for lost in counters[:2]:
        assert sign(tester, handle, lost).rc == RC.VALUE
    for counter in (counters[-1], counters[2], counters[45], counters[41], counters[40]):
        assert sign(tester, handle, counter).rc == 0
        assert sign(tester, handle, counter).rc == RC.VALUE


def test_a_failed_signature_keeps_the_commitment(pair: Pair) -> None:
    handle = pair.load(ecc_areas(SIGN, ECDAA))
    ours, _ = pair.run(CC.COMMIT, (handle,), commit(), 1)
    counter = int.from_bytes(ours.parameters[-2:])
    assert sign(pair.engine, handle, counter, DIGEST[1:]).rc == RC.SIZE | P1
    assert sign(pair.engine, handle, counter).rc == 0


def test_commitments_end_with_a_reset(pair: Pair) -> None:
    handle = pair.load(ecc_areas(SIGN, ECDAA))
    ours, theirs = pair.run(CC.COMMIT, (handle,), commit(), 1)
    for tester, answer in ((pair.engine, ours), (pair.swtpm, theirs)):
        tester.reset()
        again = load_external(tester, *ecc_areas(SIGN, ECDAA))
        assert again.handle == handle
        assert sign(tester, handle, int.from_bytes(answer.parameters[-2:])).rc == RC.VALUE


def test_values_differ_by_key_and_counter(tester: Tester) -> None:
    """A value that served two keys, or one key twice, would give a private key away."""
    seen = set()
    for scheme in (ECDAA, words(ALG.ECDAA, ALG.SHA384, 0)):
        loaded = load_external(tester, *ecc_areas(SIGN, scheme))
        assert loaded.handle is not None
        assert isinstance(tester.peer, EnginePeer)
        tester.peer.engine._tpm.reset.commit_counter = 0
        for _ in range(3):
            answer = tester.run(CC.COMMIT, [loaded.handle], commit(), [Password()])
            seen.add(answer.sized(2))
    assert len(seen) == 6


@pytest.mark.parametrize(
    ("key", "params", "rc"),
    [
        (rsa_areas(SIGN), commit(), RC.KEY | H1),
        (ecc_areas(SIGN), commit(), RC.SCHEME | H1),
        (ecc_areas(SIGN, words(ALG.ECDSA, ALG.SHA256)), commit(), RC.SCHEME | H1),
        (ecc_areas(SIGN, ECDAA), commit(s2=b"s"), RC.SIZE | P3),
        (ecc_areas(SIGN, ECDAA), commit(y2=b"y"), RC.SIZE | P3),
        (ecc_areas(SIGN, ECDAA), commit(s2=b"s", y2=b"y"), RC.ECC_POINT | P2),
        (ecc_areas(SIGN, ECDAA), commit(sized(sized(b"x") + sized(b""))), RC.ECC_POINT | P1),
        (ecc_areas(SIGN, ECDAA), commit(sized(b"")), RC.SIZE | P1),
        (
            ecc_areas(SIGN, ECDAA),
            commit(sized(sized(b"x") + sized(b"y")), b"s", b"y"),
            RC.ECC_POINT | P2,
        ),
        (ecc_areas(SIGN, ECDAA), commit(y2=bytes(67)), RC.SIZE | P3),
    ],
)
def test_what_commit_refuses(pair: Pair, key: tuple[bytes, bytes], params: bytes, rc: int) -> None:
    handle = pair.load(key)
    assert hex(pair.refuse(CC.COMMIT, (handle,), params, 1)) == hex(rc)


def test_a_nameless_key_has_no_hash_for_the_base(tester: Tester) -> None:
    public, sensitive = ecc_areas(SIGN, ECDAA)
    loaded = load_external(tester, public[:2] + NONE + public[4:], sensitive)
    assert loaded.handle is not None
    params = commit(NO_POINT, *hashed_point(3))
    assert tester.run(CC.COMMIT, [loaded.handle], params, [Password()]).rc == RC.HASH | H1
    assert tester.run(CC.COMMIT, [loaded.handle], commit(), [Password()]).rc == 0


@pytest.mark.parametrize("curve", CURVES)
def test_ephemeral_keys(pair: Pair, curve: int) -> None:
    found = ecc.CURVES[curve]
    first = pair.run(CC.EC_EPHEMERAL, params=words(curve))
    second = pair.run(CC.EC_EPHEMERAL, params=words(curve))
    for one, other in zip(first, second, strict=True):
        assert found.contains(affine(one.sized()))
        assert found.contains(affine(other.sized()))
        assert one.sized() != other.sized()
        counters = [int.from_bytes(answer.parameters[-2:]) for answer in (one, other)]
        assert counters[1] == counters[0] + 1

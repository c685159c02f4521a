"""Part 3, chapter 11: which sessions can be started, and which can't."""

import itertools

import pytest

from tests.tpm import areas, wrapping
from tests.tpm.agreement import agreed, handle_error, parameter_error
from tests.tpm.harness import Result, Tester, sized
from tests.tpm.known_keys import Pair
from tests.tpm.raw import code_of, framed
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.constants import ALG, CC, RH, SE

Both = tuple[Tester, Tester]

HASH_ALGS = (ALG.SHA1, ALG.SHA256, ALG.SHA384, ALG.SHA512)


def start(
    tester: Tester,
    *,
    key: int = RH.NULL,
    bind: int = RH.NULL,
    nonce: int = 16,
    salt: bytes = b"",
    kind: int = SE.HMAC,
    symmetric: bytes = areas.NONE,
    alg: int = ALG.SHA256,
) -> int:
    """The response code; a session that was started is ended again."""
    params = sized(bytes(nonce)) + sized(salt) + bytes((kind,)) + symmetric + alg.to_bytes(2)
    handles = key.to_bytes(4) + bind.to_bytes(4)
    answer = tester.raw(framed(CC.START_AUTH_SESSION, handles + params))
    if code_of(answer) == 0:
        assert len(answer) == 16 + nonce
        areas.flush(tester, int.from_bytes(answer[10:14]))
    return code_of(answer)


def agreed_start(both: Both, **arguments: int | bytes) -> int:
    ours, theirs = (start(tester, **arguments) for tester in both)  # type: ignore[arg-type]
    assert ours == theirs, (arguments, hex(ours), hex(theirs))
    return ours


def test_kinds_and_hashes(both: Both) -> None:
    for kind, alg in itertools.product((0, 1, 2, 3, 4, 0xFF), (*HASH_ALGS, ALG.NULL, 0x12, 0x99)):
        agreed_start(both, kind=kind, alg=alg)


@pytest.mark.parametrize("alg", HASH_ALGS)
def test_sizes_of_nonces(both: Both, alg: ALG) -> None:
    for size in (0, 1, 15, 16, 17, 20, 21, 32, 33, 48, 49, 63, 64, 65):
        agreed_start(both, nonce=size, alg=alg)


def test_ciphers(both: Both) -> None:
    for bits, mode in itertools.product((0, 127, 128, 256, 512), (ALG.CFB, ALG.CTR, 0x10)):
        agreed_start(both, symmetric=areas.words(ALG.AES, bits, mode))
    for alg in (*HASH_ALGS, ALG.NULL, 0x99):
        agreed_start(both, symmetric=areas.words(ALG.XOR, alg))
    assert agreed_start(both, symmetric=areas.words(ALG.AES, 128, ALG.CTR)) == parameter_error(
        RC.MODE, 4
    )


def test_what_can_be_bound_to(both: Both) -> None:
    for tester in both:
        key = areas.loaded_primary(tester, areas.storage())
        public = tester.run(CC.READ_PUBLIC, [key]).sized()
        assert areas.load_external(tester, public).handle == key + 1
        assert tester.run(CC.HASH_SEQUENCE_START, params=b"\0\0\0\x0b").handle == key + 2
    permanent = (RH.OWNER, RH.NULL, RH.LOCKOUT, RH.ENDORSEMENT, RH.PLATFORM, RH.RS_PW)
    for bind in (*permanent, 0, 23, 24, 0x80000000, 0x80000001, 0x80000002, 0x02000000, 0x01500000):
        for kind in (SE.HMAC, SE.POLICY, SE.TRIAL):
            agreed_start(both, bind=bind, kind=kind)
    assert agreed_start(both, bind=0x80000001) == handle_error(RC.HANDLE, 2)


def test_what_can_hold_a_salt(both: Both) -> None:
    templates = (
        areas.storage(),
        areas.ecc(areas.OWN | areas.SIGN | areas.NO_DA),
        areas.sealed(areas.FIXED | areas.USER_AUTH),
    )
    for template in templates:
        salts = []
        for tester in both:
            made = areas.create_primary(tester, template, data=b"x" if template[1] == 8 else b"")
            assert made.handle == 0x80000000
            kind = int.from_bytes(template[:2])
            salts.append(
                wrapping.share_with(made.sized(), b"SECRET")[1] if kind == ALG.ECC else b"x"
            )
        for change in (
            lambda salt: salt,
            lambda salt: salt[:-1],
            lambda salt: b"",
            lambda salt: b"x",
        ):
            ours, theirs = (
                start(tester, key=0x80000000, salt=change(salt))
                for tester, salt in zip(both, salts, strict=True)
            )
            assert ours == theirs
        for tester in both:
            areas.flush(tester, 0x80000000)
    assert agreed_start(both, salt=b"x") == parameter_error(RC.VALUE, 2)
    for key in (0x80000000, 0x81000001, RH.OWNER, 0):
        agreed_start(both, key=key, salt=b"x")


def test_public_keys_hold_no_salt(both: Both) -> None:
    for tester in both:
        key = areas.loaded_primary(tester, areas.storage())
        public = tester.run(CC.READ_PUBLIC, [key]).sized()
        areas.flush(tester, key)
        assert areas.load_external(tester, public).handle == key
    assert agreed_start(both, key=0x80000000, salt=b"x" * 68) == handle_error(RC.HANDLE, 1)


@pytest.mark.parametrize("salt", [bytes(68), sized(b"\x01" * 32) + sized(b"\x02" * 32), bytes(512)])
def test_salts_that_are_none(both: Both, salt: bytes) -> None:
    """No point of the curve, or no point at all: one answer, and no key that can be known."""
    for tester in both:
        areas.loaded_primary(tester, areas.storage())
    if len(salt) <= 384:
        assert agreed_start(both, key=0x80000000, salt=salt) == parameter_error(RC.VALUE, 2)
    else:
        assert start(both[0], key=0x80000000, salt=salt) == parameter_error(RC.VALUE, 2)


def test_loaded_sessions(both: Both) -> None:
    for tester in both:
        handles = [tester.start_session(kind).handle for kind in (SE.HMAC, SE.POLICY, SE.TRIAL)]
        assert handles == [0x02000000, 0x03000001, 0x03000002]
    assert agreed_start(both) == RC.SESSION_MEMORY
    for tester in both:
        areas.flush(tester, 0x03000001)
        assert tester.start_session().handle == 0x02000001


def test_restarting_a_policy(both: Both) -> None:
    def restart(tester: Tester, handle: int) -> Result:
        return tester.run(CC.POLICY_RESTART, [handle])

    for tester in both:
        for kind in (SE.HMAC, SE.POLICY, SE.TRIAL):
            session = tester.start_session(kind)
            if kind != SE.HMAC:
                assert tester.run(CC.POLICY_AUTH_VALUE, [session.handle]).rc == 0
    for handle in (0x02000000, 0x03000000, 0x03000001, 0x03000002, 0x03000003, 0x03000040, 0):
        agreed(both, restart, handle)
    for handle in (0x03000001, 0x03000002):
        digest = agreed(both, Tester.run, CC.POLICY_GET_DIGEST, [handle])
        assert digest.sized() == bytes(32)


def test_truncated(pair: Pair) -> None:
    whole = sized(bytes(16)) + bytes(3) + areas.AES_128_CFB + b"\x00\x0b"
    for length in range(len(whole)):
        pair.refuse(CC.START_AUTH_SESSION, (RH.NULL, RH.NULL), whole[:length])
    pair.refuse(CC.START_AUTH_SESSION, (RH.NULL, RH.NULL), whole + b"\0")

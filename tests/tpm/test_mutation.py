"""Valid commands with some octets changed: the code that swtpm answers, never a defect."""

import itertools
import struct

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.tpm import areas
from tests.tpm.harness import Tester, sized
from tests.tpm.raw import agreed_code, authorization, framed, resized, with_sessions
from vtpmd.tpm.wire.constants import ALG, CAP, CC, RH, SE

Both = tuple[Tester, Tester]

PASSWORD = [authorization()]
KEY, INDEX = 0x80000000, 0x01500000
HMAC, POLICY = 0x02000000, 0x03000001
_ALL_PCRS = struct.pack(">IHB", 1, ALG.SHA256, 3) + b"\xff\xff\xff"
_PUBLIC = areas.ecc(areas.OWN | areas.SIGN, scheme=areas.words(ALG.ECDSA, ALG.SHA256))
_INDEX = struct.pack(">IHIHH", INDEX, ALG.SHA256, 0x00060006, 0, 16)
_POLICY = sized(bytes(32)) + b"\0\x0b"
_CFB_SESSION = b"\0\0\0" + areas.AES_128_CFB + b"\0\x0b"
_NO_TICKET = struct.pack(">HIH", 0x8024, RH.NULL, 0)


def _handles(*handles: int) -> bytes:
    return b"".join(handle.to_bytes(4) for handle in handles)


COMMANDS = (
    framed(CC.STARTUP, b"\0\0"),
    framed(CC.SHUTDOWN, b"\0\0"),
    framed(CC.GET_TEST_RESULT),
    framed(CC.INCREMENTAL_SELF_TEST, struct.pack(">IHH", 2, ALG.SHA256, ALG.AES)),
    framed(CC.GET_RANDOM, b"\0\x10"),
    framed(CC.STIR_RANDOM, sized(bytes(16))),
    framed(CC.START_AUTH_SESSION, _handles(RH.NULL, RH.OWNER) + sized(bytes(16)) + _CFB_SESSION),
    framed(CC.POLICY_RESTART, _handles(POLICY)),
    framed(CC.POLICY_PCR, _handles(POLICY) + b"\0\0" + _ALL_PCRS),
    framed(CC.POLICY_COMMAND_CODE, _handles(POLICY, CC.SIGN)),
    framed(CC.POLICY_LOCALITY, _handles(POLICY) + b"\x01"),
    framed(CC.POLICY_GET_DIGEST, _handles(POLICY)),
    framed(CC.PCR_READ, _ALL_PCRS),
    with_sessions(CC.PCR_EXTEND, _handles(16), PASSWORD, b"\0\0\0\1\0\x0b" + bytes(32)),
    with_sessions(CC.PCR_EVENT, _handles(16), PASSWORD, sized(b"event")),
    with_sessions(CC.PCR_RESET, _handles(16), PASSWORD),
    with_sessions(CC.PCR_SET_AUTH_VALUE, _handles(20), PASSWORD, sized(b"auth")),
    with_sessions(CC.PCR_SET_AUTH_POLICY, _handles(RH.PLATFORM), PASSWORD, _POLICY + _handles(20)),
    with_sessions(CC.PCR_ALLOCATE, _handles(RH.PLATFORM), PASSWORD, _ALL_PCRS),
    framed(CC.READ_PUBLIC, _handles(KEY)),
    framed(CC.TEST_PARMS, areas.words(ALG.ECC) + areas.NONE * 2 + b"\0\3" + areas.NONE),
    with_sessions(CC.SIGN, _handles(KEY), PASSWORD, sized(bytes(32)) + areas.NONE + _NO_TICKET),
    framed(CC.LOAD_EXTERNAL, b"\0\0" + sized(_PUBLIC) + _handles(RH.NULL)),
    with_sessions(CC.NV_DEFINE_SPACE, _handles(RH.OWNER), PASSWORD, b"\0\0" + sized(_INDEX)),
    with_sessions(CC.NV_WRITE, _handles(INDEX, INDEX), PASSWORD, sized(bytes(8)) + b"\0\0"),
    with_sessions(CC.NV_READ, _handles(INDEX, INDEX), PASSWORD, b"\0\x08\0\0"),
    framed(CC.NV_READ_PUBLIC, _handles(INDEX)),
    with_sessions(CC.HIERARCHY_CHANGE_AUTH, _handles(RH.ENDORSEMENT), PASSWORD, b"\0\0"),
    with_sessions(CC.SET_PRIMARY_POLICY, _handles(RH.OWNER), PASSWORD, _POLICY),
    with_sessions(CC.CLEAR_CONTROL, _handles(RH.PLATFORM), PASSWORD, b"\0"),
    with_sessions(CC.DICTIONARY_ATTACK_LOCK_RESET, _handles(RH.LOCKOUT), PASSWORD),
    with_sessions(CC.CLOCK_RATE_ADJUST, _handles(RH.OWNER), PASSWORD, b"\0"),
    framed(CC.CONTEXT_SAVE, _handles(KEY)),
    framed(CC.CONTEXT_LOAD, struct.pack(">QIIHH", 1, 0x80000000, RH.OWNER, 66, 64) + bytes(64)),
    framed(CC.FLUSH_CONTEXT, _handles(HMAC)),
    framed(CC.READ_CLOCK),
    framed(CC.GET_CAPABILITY, struct.pack(">III", CAP.HANDLES, 0x81000000, 1)),
    framed(CC.HASH, sized(b"data") + b"\0\x0b" + _handles(RH.NULL)),
    with_sessions(CC.EVICT_CONTROL, _handles(RH.OWNER, KEY), PASSWORD, _handles(0x81000001)),
    with_sessions(CC.GET_RANDOM, b"", [authorization(HMAC, bytes(16), 0x81)], b"\0\x10"),
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, command: bytes) -> bytes:
    """A command with up to three changes behind its header."""
    octets = bytearray(command)
    for _ in range(draw(st.integers(0, 3))):
        position = draw(st.integers(10, len(octets)))
        match draw(st.sampled_from(("set", "flip", "insert", "delete", "handle"))):
            case "set" if position < len(octets):
                octets[position] = draw(st.integers(0, 255))
            case "flip" if position < len(octets):
                octets[position] ^= 1 << draw(st.integers(0, 7))
            case "insert":
                octets[position:position] = draw(st.binary(min_size=1, max_size=4))
            case "delete":
                del octets[position : position + draw(st.integers(1, 4))]
            case "handle" if position + 4 <= len(octets):
                handles = (KEY, INDEX, HMAC, POLICY, RH.OWNER, RH.NULL, RH.RS_PW, 0x81000001)
                octets[position : position + 4] = draw(st.sampled_from(handles)).to_bytes(4)
    return resized(bytes(octets))


@pytest.fixture
def furnished(both: Both) -> "Furnished":
    """Both with a key, an index and two sessions, under the same handles."""
    return Furnished(both)


class Furnished:
    """Brings both TPMs to the same state, and again when a command may have changed it."""

    def __init__(self, both: Both) -> None:
        self.both = both
        self.numbers = itertools.count()
        self.furnish()

    def furnish(self) -> None:
        for tester in self.both:
            tester.reset()
            assert areas.loaded_primary(tester, _PUBLIC) == KEY
            assert tester.start_session(SE.HMAC).handle == HMAC
            assert tester.start_session(SE.POLICY).handle == POLICY

    def run(self, command: bytes) -> int:
        code = agreed_code(self.both, command)
        # Whatever succeeded might show in one of them only later, so it is not left to pile up.
        if code == 0 or next(self.numbers) % 100 == 99:
            self.furnish()
        return code


def test_the_commands_are_valid(furnished: Furnished) -> None:
    invalid = [command.hex() for command in COMMANDS if furnished.run(command) == 0x95]
    assert not invalid


@pytest.mark.parametrize(
    "command", COMMANDS, ids=lambda command: CC(int.from_bytes(command[6:10])).name
)
def test_mutations(furnished: Furnished, command: bytes) -> None:
    @settings(
        max_examples=100,
        deadline=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(mutated(command))
    def run(changed: bytes) -> None:
        furnished.run(changed)

    run()

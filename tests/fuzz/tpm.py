"""A TPM to be fuzzed: always from the same state, and checked after every command."""

import hashlib
import struct
from functools import cache

from tests.fuzz.octets import Octets
from tests.tpm import areas, known_keys
from tests.tpm.commands.nv_area import INDEX, OWNER_RW, Area, define
from tests.tpm.harness import EnginePeer, HostClock, Tester, engine_state, sized
from tests.tpm.raw import authorization, session_area
from vtpmd.tpm.command import COMMANDS
from vtpmd.tpm.engine import Engine
from vtpmd.tpm.wire.constants import ALG, CC, RH, SE, ST

LOCALITIES = (0, 1, 2, 3, 4, 32)
SIGNING_KEY, STORAGE_KEY = 0x80000000, 0x80000001
HMAC_SESSION, POLICY_SESSION = 0x02000000, 0x03000001
HANDLES = (
    *(SIGNING_KEY, STORAGE_KEY, 0x80000002, HMAC_SESSION, POLICY_SESSION, INDEX, INDEX + 1),
    *(RH.OWNER, RH.ENDORSEMENT, RH.PLATFORM, RH.LOCKOUT, RH.NULL, RH.RS_PW, RH.PLATFORM_NV),
    *(0, 16, 20, 23, 24, 0x81010001, 0x8101000A, 0x40000110, 0x03000040, 0xFFFFFFFF),
)
PARAMETERS = (
    *(b"", b"\0", b"\0\0", b"\0\1", b"\0\0\0\1", words := areas.words(ALG.SHA256), areas.NONE),
    *(sized(bytes(32)), sized(b""), sized(bytes(8)), bytes(4), INDEX.to_bytes(4)),
    *(areas.AES_128_CFB, areas.words(ALG.ECDSA, ALG.SHA256), areas.words(ALG.RSASSA, ALG.SHA256)),
    (1).to_bytes(4) + words + b"\3\7\0\0",
    (1).to_bytes(4) + words + bytes(32),
    areas.words(ST.HASHCHECK) + RH.NULL.to_bytes(4) + sized(b""),
    areas.sensitive_create(b"auth"),
    *(sized(area) for area in (areas.storage(), known_keys.ecc_areas(areas.SIGN)[0])),
    sized(known_keys.hmac_areas(areas.SIGN, areas.words(ALG.HMAC, ALG.SHA256))[1]),
    sized(Area(OWNER_RW).marshal()),
    *(handle.to_bytes(4) for handle in HANDLES[:12]),
)
"""Pieces that parameters are made of."""
_CODES = sorted(COMMANDS)


class Entropy:
    """Octets that look random and are the same in every run."""

    def __init__(self) -> None:
        self._count = 0

    def __call__(self, size: int) -> bytes:
        self._count += 1
        return hashlib.shake_256(self._count.to_bytes(8)).digest(size)


@cache
def furnished() -> tuple[bytes, bytes]:
    """Permanent and volatile state of a TPM with keys, sessions, an index and a sequence."""
    peer = EnginePeer.manufactured(entropy=Entropy())
    tester = Tester(peer)
    assert tester.startup() == 0
    assert define(tester, Area(OWNER_RW)).rc == 0
    key = areas.ecc(areas.OWN | areas.SIGN, scheme=areas.words(ALG.ECDSA, ALG.SHA256))
    assert areas.loaded_primary(tester, key) == SIGNING_KEY
    assert areas.loaded_primary(tester, areas.storage()) == STORAGE_KEY
    assert tester.start_session(SE.HMAC, aes_bits=128).handle == HMAC_SESSION
    assert tester.start_session(SE.POLICY).handle == POLICY_SESSION
    started = tester.run(CC.HASH_SEQUENCE_START, params=sized(b"") + areas.words(ALG.SHA256))
    assert started.handle == 0x80000002
    return peer.engine.permanent(), peer.engine.volatile()


def restored(permanent: bytes, volatile: bytes) -> Engine:
    """A TPM that goes on from two states."""
    engine = Engine.restore(permanent, Entropy(), HostClock())
    engine.power_on(volatile)
    return engine


def check_command(engine: Engine, command: bytes, locality: int) -> bool:
    """Run a command and check all that has to hold of its answer; whether it succeeded."""
    before = engine_state(engine)
    reply = engine.execute(command, locality)
    assert engine.defect is None, engine.defect
    tag, size, code = struct.unpack_from(">HII", reply.response)
    assert size == len(reply.response) <= 4096
    if not code:
        assert tag == int.from_bytes(command[:2]) in (ST.SESSIONS, ST.NO_SESSIONS)
        return True
    assert (tag, size) == (ST.NO_SESSIONS, 10)
    assert engine_state(engine) == before
    return False


def draw_command(octets: Octets) -> bytes:
    """A command whose frame, and much of what is in it, is right."""
    code = octets.choice(_CODES)
    spec = COMMANDS[code]
    handles = b"".join(octets.choice(HANDLES).to_bytes(4) for _ in spec.handles)
    choice = octets.number()
    area, tag = b"", ST.NO_SESSIONS
    if spec.authorizations or choice & 1:
        uses = [_authorization(octets) for _ in range(max(spec.authorizations, choice >> 1 & 1))]
        if choice & 0x1C == 0x1C:
            uses.append(_authorization(octets))
        area, tag = session_area(*uses), ST.SESSIONS
    parameters = b"".join(_parameter(octets) for _ in range(choice >> 5 or len(spec.parameters)))
    body = handles + area + parameters
    return struct.pack(">HII", tag, 10 + len(body), code) + body


def _authorization(octets: Octets) -> bytes:
    choice = octets.number()
    if choice < 192:
        return authorization()
    handle = octets.choice((HMAC_SESSION, POLICY_SESSION))
    return authorization(handle, bytes(16), octets.number(), octets.take(choice & 32))


def _parameter(octets: Octets) -> bytes:
    choice = octets.number()
    if choice < 200:
        return octets.choice(PARAMETERS)
    piece = octets.take(choice & 31)
    return sized(piece) if choice & 1 else piece

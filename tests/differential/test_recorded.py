"""Recorded commands, as they are and with octets changed: swtpm's response code, never a defect.

The TPM they were recorded from was another one, so most of them are refused; what counts is why.
VTPMD_MUTATIONS sets how many changed ones there are; by default it is few of them, and only a part
of what libtpms is fuzzed with.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests import recorded
from tests.differential.world import World
from tests.tpm import areas
from tests.tpm.harness import EnginePeer, SwtpmPeer, Tester
from tests.tpm.raw import resized
from tests.tpm.shared_identity import with_identity_of
from vtpmd.tpm.wire.constants import ALG, CC, RH, SE

MUTATIONS = int(os.environ.get("VTPMD_MUTATIONS", "400"))
PART = 1 if "VTPMD_MUTATIONS" in os.environ else 5
SLOW = (CC.SELF_TEST, CC.CREATE_PRIMARY, CC.CREATE, CC.CREATE_LOADED)
"""Left out of the mutations, together with those that draw new seeds."""
RENEWING = (CC.CLEAR, CC.CHANGE_EPS, CC.CHANGE_PPS)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("swtpm") is None, reason="swtpm is not installed"),
    pytest.mark.skipif(not recorded.VECTORS.is_dir(), reason="no test vectors here"),
]


class Stage:
    """Both TPMs with keys, an index and sessions under the handles that recordings mostly use."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.set_up()

    def set_up(self) -> None:
        """Begin anew."""
        for tester in self.world.testers:
            tester.reset()
            password = self.world.password(0)[:1]
            for code, params in ((CC.CLEAR_CONTROL, b"\0"), (CC.CLEAR, b"")):
                cleared = tester.run(code, [int(RH.PLATFORM)], params, password)
                assert cleared.rc == 0, hex(cleared.rc)
        self.world.synchronize()
        signing = areas.ecc(areas.OWN | areas.SIGN, scheme=areas.words(ALG.ECDSA, ALG.SHA256))
        for tester in self.world.testers:
            areas.loaded_primary(tester, signing)
            areas.loaded_primary(tester, areas.storage())
            tester.start_session(SE.HMAC, aes_bits=128)
            tester.start_session(SE.POLICY)

    def run(self, command: bytes) -> int:
        """The code on which both agree; whatever the command has changed is undone."""
        code = self.world.raw(command)
        if not code or code >> 8 == 0x9:
            self.set_up()
        return code


@pytest.fixture
def stage(manufactured: bytes, short_path: Path) -> Iterator[Stage]:
    peer = SwtpmPeer(short_path)
    swtpm = Tester(peer)
    assert swtpm.startup() == 0
    state = short_path / "peer.state"
    engine = Tester(EnginePeer.restored(with_identity_of(manufactured, state)))
    assert engine.startup() == 0
    yield Stage(World(engine, swtpm, state))
    peer.close()


def _code(command: bytes) -> int:
    return int.from_bytes(command[6:10])


def mutated(draw: Random, command: bytes) -> bytes:
    """A command with some octets behind its header changed, added or taken away."""
    octets = bytearray(command)
    for _ in range(draw.randrange(1, 4)):
        position = draw.randrange(10, len(octets)) if len(octets) > 10 else 10
        match draw.randrange(5):
            case 0 if position < len(octets):
                octets[position] = draw.randrange(256)
            case 1 if position < len(octets):
                octets[position] ^= 1 << draw.randrange(8)
            case 2:
                octets[position:position] = draw.randbytes(draw.randrange(1, 5))
            case 3:
                del octets[position : position + draw.randrange(1, 5)]
            case _:
                octets[position : position + 2] = draw.randrange(600).to_bytes(2)
    return resized(bytes(octets))


def test_what_libtpms_is_fuzzed_with(stage: Stage) -> None:
    commands = recorded.corpus()[::PART]
    codes = {stage.run(command) for command in commands if _code(command) != CC.SELF_TEST}
    assert len(codes) > 30


def test_the_traffic_of_tpm2_tss(stage: Stage) -> None:
    """In its order, so that part of every recording is understood."""
    commands = 0
    for recording in recorded.captures().values():
        stage.set_up()
        for command in recording:
            if _code(command) not in (*RENEWING, *SLOW, CC.CONTEXT_SAVE):
                stage.world.raw(command)
                commands += 1
    assert commands > 1000


def test_recorded_commands_changed(stage: Stage) -> None:
    draw = Random(185)
    commands = [each for each in recorded.corpus() if len(each) >= 10 and _code(each) not in SLOW]
    for recording in recorded.captures().values():
        commands += [each for each in recording if _code(each) not in SLOW]
    for _ in range(MUTATIONS):
        stage.run(mutated(draw, draw.choice(commands)))

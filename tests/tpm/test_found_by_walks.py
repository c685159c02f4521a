"""What random walks have found, each in as few commands as show it."""

import struct

from tests.tpm.harness import EnginePeer, Tester
from vtpmd.tpm.wire.constants import CAP, CC, SE

Both = tuple[Tester, Tester]


def listed(tester: Tester, first: int) -> list[int]:
    """The handles that TPM2_GetCapability lists from one on."""
    params = struct.pack(">III", CAP.HANDLES, first, 100)
    found = tester.run(CC.GET_CAPABILITY, params=params).parameters[9:]
    return [int.from_bytes(found[at : at + 4]) for at in range(0, len(found), 4)]


def test_sessions_are_listed_by_number_whatever_their_type(both: Both) -> None:
    for tester in both:
        for kind in (SE.POLICY, SE.HMAC, SE.TRIAL):
            tester.start_session(kind)
        assert listed(tester, 0x02000000) == [0x03000000, 0x02000001, 0x03000002]
        assert listed(tester, 0x02000001) == [0x02000001, 0x03000002]
        assert listed(tester, 0x03000000) == []


def test_saved_sessions_are_listed_as_hmac_sessions(both: Both) -> None:
    """30.2: the TPM need not track what type a saved session has."""
    for tester in both:
        for kind in (SE.POLICY, SE.HMAC):
            session = tester.start_session(kind)
            assert tester.run(CC.CONTEXT_SAVE, [session.handle]).rc == 0
        assert listed(tester, 0x03000000) == [0x02000000, 0x02000001]
        assert listed(tester, 0x03000001) == [0x02000001]
        assert listed(tester, 0x02000000) == []


def test_the_clock_of_a_new_tpm_is_safe(swtpm: Tester) -> None:
    """Nothing it has said can be lost, so that nobody has to doubt it (Part 1, 33.3)."""
    engine = Tester(EnginePeer.manufactured())
    assert engine.startup() == 0
    for tester in (engine, swtpm):
        assert tester.run(CC.READ_CLOCK).parameters[-1] == 1

"""What random walks have found, each in as few commands as show it."""

import struct

import pytest

from tests.tpm import areas
from tests.tpm.agreement import handle_error
from tests.tpm.harness import EnginePeer, Password, Tester
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.constants import CAP, CC, RH, SE

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


@pytest.mark.parametrize("first", [0, 1, 0xFF, 0x100, 0x12D, 0x12E, 0x12F, 0x1FF, 0x200, 0x300])
def test_properties_end_with_their_group(both: Both, first: int) -> None:
    """30.2: those of another group are never returned with them, and not announced either."""

    def tags(tester: Tester, count: int) -> tuple[int, list[int]]:
        params = struct.pack(">III", CAP.TPM_PROPERTIES, first, count)
        found = tester.run(CC.GET_CAPABILITY, params=params).parameters
        return found[0], [int.from_bytes(found[at : at + 4]) for at in range(9, len(found), 8)]

    for count in (0, 1, 2, 3, 100):
        ours, theirs = (tags(tester, count) for tester in both)
        assert ours == theirs


def test_the_clock_of_a_new_tpm_is_safe(swtpm: Tester) -> None:
    """Nothing it has said can be lost, so that nobody has to doubt it (Part 1, 33.3)."""
    engine = Tester(EnginePeer.manufactured())
    assert engine.startup() == 0
    for tester in (engine, swtpm):
        assert tester.run(CC.READ_CLOCK).parameters[-1] == 1


@pytest.mark.parametrize(
    ("disabled", "of", "persistent", "use", "eviction"),
    [
        (RH.OWNER, RH.ENDORSEMENT, 0x81000000, handle_error(RC.HANDLE, 1), RC.HIERARCHY | 0x100),
        (RH.ENDORSEMENT, RH.ENDORSEMENT, 0x81000000, handle_error(RC.HANDLE, 1), 0),
        (RH.ENDORSEMENT, RH.OWNER, 0x81000000, 0, 0),
        (RH.OWNER, RH.PLATFORM, 0x81800000, 0, 0),
    ],
)
def test_a_persistent_object_needs_the_hierarchy_that_keeps_it(
    both: Both, disabled: int, of: int, persistent: int, use: int, eviction: int
) -> None:
    """Endorsement keys are made persistent by the owner, and go when the owner is disabled.

    Who disables the endorsement hierarchy can still get rid of its keys.
    """
    for tester in both:
        made = areas.create_primary(tester, areas.storage(), hierarchy=of)
        assert made.handle is not None
        by = RH.PLATFORM if of == RH.PLATFORM else RH.OWNER
        params, password = persistent.to_bytes(4), [Password()]
        assert tester.run(CC.EVICT_CONTROL, [by, made.handle], params, password).rc == 0
        params = disabled.to_bytes(4) + b"\0"
        assert tester.run(CC.HIERARCHY_CONTROL, [RH.PLATFORM], params, password).rc == 0
        assert tester.run(CC.READ_PUBLIC, [persistent]).rc == use
        params = persistent.to_bytes(4)
        evicted = tester.run(CC.EVICT_CONTROL, [by, persistent], params, password)
        assert evicted.rc == eviction

"""Part 3, chapter 9: Reset, Restart and Resume, and what each of them keeps."""

import struct
from dataclasses import dataclass

import pytest

from tests.tpm import areas
from tests.tpm.agreement import agreed, parameter_error
from tests.tpm.harness import EnginePeer, Password, Session, Tester, digest, sized
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.constants import ALG, CC, PT, RH, SE, SU

Both = tuple[Tester, Tester]

ALL_PCRS = tuple(range(24))
EXTEND = b"\x00\x00\x00\x01\x00\x0b" + bytes(range(32))


def pcr_values(tester: Tester, alg: int = ALG.SHA256) -> tuple[bytes, ...]:
    """The 24 values of a bank."""
    values: list[bytes] = []
    for first in range(0, 24, 8):
        selected = (0xFF << first).to_bytes(3, "little")
        params = struct.pack(">IHB", 1, alg, 3) + selected
        answer = tester.run(CC.PCR_READ, params=params).parameters
        values += [answer[-34 * n : -34 * n + 34][2:34] for n in range(8, 1, -1)]
        values.append(answer[-32:])
    return tuple(values)


def update_counter(tester: Tester) -> int:
    """pcrUpdateCounter."""
    return int.from_bytes(tester.run(CC.PCR_READ, params=bytes(4)).parameters[:4])


@dataclass(frozen=True)
class Clock:
    """TPMS_TIME_INFO but what depends on how long a test takes."""

    reset_count: int
    restart_count: int
    safe: int


def read_clock(tester: Tester) -> Clock:
    """TPM2_ReadClock."""
    _, _, resets, restarts, safe = struct.unpack(">QQIIB", tester.run(CC.READ_CLOCK).parameters)
    return Clock(resets, restarts, safe)


def extend(tester: Tester, pcr: int) -> None:
    assert tester.run(CC.PCR_EXTEND, [pcr], EXTEND, [Password()]).rc == 0


def property_of(tester: Tester, tag: int) -> int:
    """One TPM property."""
    params = struct.pack(">III", 6, tag, 1)
    return int.from_bytes(tester.run(CC.GET_CAPABILITY, params=params).parameters[-4:])


def cycle(tester: Tester, shutdown: int | None, startup: int) -> int:
    """Shutdown, _TPM_Init and Startup; the response code of the last."""
    if shutdown is not None:
        assert tester.run(CC.SHUTDOWN, params=shutdown.to_bytes(2)).rc == 0
    tester.names.clear()
    tester.peer.reset()
    return tester.startup(startup)


SEQUENCES = {
    "reset": (SU.CLEAR, SU.CLEAR),
    "restart": (SU.STATE, SU.CLEAR),
    "resume": (SU.STATE, SU.STATE),
}


@pytest.mark.parametrize(("shutdown", "startup"), SEQUENCES.values(), ids=SEQUENCES)
def test_pcrs_and_counters(both: Both, shutdown: int, startup: int) -> None:
    """Twice in a row: values, pcrUpdateCounter, resetCount and restartCount as swtpm's."""
    for _ in range(2):
        for tester in both:
            tester.peer.set_locality(0)
            for pcr in (0, 7, 15, 16, 23):
                extend(tester, pcr)
            tester.peer.set_locality(2)
            extend(tester, 21)
            tester.peer.set_locality(0)
            assert cycle(tester, shutdown, startup) == 0
        ours, theirs = (
            (pcr_values(tester), update_counter(tester), read_clock(tester)) for tester in both
        )
        # Manufacture started and stopped the engine once; swtpm counts its first start only.
        clocks = [ours[2].reset_count, theirs[2].reset_count]
        assert ours[:2] == theirs[:2]
        assert ours[2].restart_count == theirs[2].restart_count
        assert clocks[0] - clocks[1] == 1


@pytest.mark.parametrize(("shutdown", "startup"), SEQUENCES.values(), ids=SEQUENCES)
def test_hierarchies(both: Both, shutdown: int, startup: int) -> None:
    """platformAuth, platformPolicy and the enables survive a resume only."""
    policy = sized(bytes(32)) + b"\x00\x0b"
    found = []
    for tester in both:
        tester.run(CC.HIERARCHY_CHANGE_AUTH, [RH.PLATFORM], sized(b"platform"), [Password()])
        platform = Password(b"platform")
        assert tester.run(CC.SET_PRIMARY_POLICY, [RH.PLATFORM], policy, [platform]).rc == 0
        tester.run(CC.HIERARCHY_CHANGE_AUTH, [RH.OWNER], sized(b"owner"), [Password()])
        for enable in (RH.ENDORSEMENT, RH.PLATFORM_NV):
            params = enable.to_bytes(4) + b"\x00"
            assert tester.run(CC.HIERARCHY_CONTROL, [RH.PLATFORM], params, [platform]).rc == 0
        assert cycle(tester, shutdown, startup) == 0
        found.append(
            (
                property_of(tester, PT.STARTUP_CLEAR),
                property_of(tester, PT.PERMANENT) & 0x7,
                tester.run(CC.CLEAR_CONTROL, [RH.PLATFORM], b"\x00", [Password()]).rc,
                tester.run(CC.CLEAR_CONTROL, [RH.PLATFORM], b"\x00", [platform]).rc,
            )
        )
    assert found[0] == found[1]
    assert (found[0][3] == 0) == (startup == SU.STATE)


def test_disabling_the_platform_lasts_until_the_next_start(both: Both) -> None:
    for startup in (SU.CLEAR, SU.STATE):
        for tester in both:
            params = RH.PLATFORM.to_bytes(4) + b"\x00"
            assert tester.run(CC.HIERARCHY_CONTROL, [RH.PLATFORM], params, [Password()]).rc == 0
            assert property_of(tester, PT.STARTUP_CLEAR) & 1 == 0
            assert cycle(tester, SU.STATE, startup) == 0
            assert property_of(tester, PT.STARTUP_CLEAR) & 1 == 1


def test_resume_needs_a_saved_state(both: Both) -> None:
    refused = parameter_error(RC.VALUE, 1)
    for tester in both:
        assert cycle(tester, SU.CLEAR, SU.STATE) == refused
        assert tester.startup() == 0
        assert cycle(tester, SU.STATE, SU.STATE) == 0
        assert tester.startup() == RC.INITIALIZE
    assert agreed(both, Tester.run, CC.SHUTDOWN, [], b"\x00\x02").rc == parameter_error(RC.VALUE, 1)


def test_resume_after_no_shutdown(tester: Tester) -> None:
    tester.peer.reset()
    assert tester.startup(SU.STATE) == parameter_error(RC.VALUE, 1)
    assert tester.startup() == 0
    assert read_clock(tester).safe == 0
    assert property_of(tester, PT.STARTUP_CLEAR) >> 31 == 0


def test_orderly_and_safe(both: Both) -> None:
    for tester in both:
        assert cycle(tester, SU.CLEAR, SU.CLEAR) == 0
        assert read_clock(tester).safe == 1
        assert property_of(tester, PT.STARTUP_CLEAR) >> 31 == 1


def test_safe_does_not_come_back_by_a_shutdown(tester: Tester, engine_peer: EnginePeer) -> None:
    """Only when Clock is stored at its interval may it be called safe again (Part 1, 33.3)."""
    tester.peer.reset()
    assert tester.startup() == 0
    assert cycle(tester, SU.CLEAR, SU.CLEAR) == 0
    assert read_clock(tester).safe == 0
    engine_peer.clock.milliseconds += 1 << 22
    assert read_clock(tester).safe == 1
    assert cycle(tester, SU.CLEAR, SU.CLEAR) == 0
    assert read_clock(tester).safe == 1


@pytest.mark.parametrize("locality", [0, 3])
def test_pcr_0_tells_the_startup_locality(both: Both, locality: int) -> None:
    for tester in both:
        tester.peer.reset()
        tester.peer.set_locality(locality)
        assert tester.startup() == 0
        assert pcr_values(tester)[0] == locality.to_bytes(32)
    assert pcr_values(both[0], ALG.SHA256) == pcr_values(both[1], ALG.SHA256)


@pytest.mark.parametrize("locality", [1, 2, 4])
def test_localities_that_may_not_start(both: Both, locality: int) -> None:
    for tester in both:
        tester.peer.reset()
        tester.peer.set_locality(locality)
        for kind in (SU.CLEAR, SU.STATE):
            assert tester.startup(kind) == RC.LOCALITY
        tester.peer.set_locality(0)
        assert tester.startup() == 0


def test_resume_from_another_locality(both: Both) -> None:
    for tester in both:
        assert tester.run(CC.SHUTDOWN, params=b"\x00\x01").rc == 0
        tester.peer.reset()
        tester.peer.set_locality(3)
        assert tester.startup(SU.STATE) == RC.LOCALITY
        tester.peer.set_locality(0)
        assert tester.startup(SU.STATE) == 0


@pytest.mark.parametrize("locality", [0, 3])
def test_h_crtm(both: Both, locality: int) -> None:
    """PCR 0 = H(H(0…04 || H(data))…): it tells of the event, not of the locality."""
    measured = digest(ALG.SHA256, (4).to_bytes(32), digest(ALG.SHA256, b"code of the H-CRTM"))
    for tester in both:
        tester.peer.reset()
        tester.peer.hash_event(b"code of ", b"the H-CRTM")
        tester.peer.set_locality(locality)
        assert tester.startup() == 0
        assert pcr_values(tester)[0] == measured
    assert update_counter(both[0]) == update_counter(both[1])


def test_the_last_h_crtm_event_counts(both: Both) -> None:
    measured = digest(ALG.SHA256, (4).to_bytes(32), digest(ALG.SHA256, b"second"))
    for tester in both:
        tester.peer.reset()
        tester.peer.hash_event(b"first")
        tester.peer.hash_event(b"second")
        assert tester.startup() == 0
        assert pcr_values(tester)[0] == measured


def test_resume_needs_the_same_kind_of_start(tester: Tester) -> None:
    tester.peer.reset()
    tester.peer.hash_event(b"code")
    assert tester.startup() == 0
    assert cycle(tester, SU.STATE, SU.STATE) == RC.LOCALITY
    assert tester.startup() == 0
    assert tester.run(CC.SHUTDOWN, params=b"\x00\x01").rc == 0
    tester.peer.reset()
    tester.peer.hash_event(b"code")
    assert tester.startup(SU.STATE) == RC.LOCALITY


def test_d_rtm(both: Both) -> None:
    """PCRs 17 to 22 to zero, PCR 17 extended, restartCount incremented; twice."""
    found = []
    for tester in both:
        before = read_clock(tester).restart_count
        tester.peer.set_locality(0)
        assert pcr_values(tester)[17:23] == (b"\xff" * 32,) * 6
        tester.peer.hash_event(b"a", b"b")
        counted = update_counter(tester)
        tester.peer.hash_event()
        values = pcr_values(tester)
        assert values[17] == digest(ALG.SHA256, bytes(32), digest(ALG.SHA256))
        assert values[18:23] == (bytes(32),) * 5
        restarts = read_clock(tester).restart_count - before
        found.append((values, counted, update_counter(tester), restarts))
    assert found[0] == found[1]
    assert found[0][3] == 2


def test_a_command_ends_an_event(tester: Tester, engine_peer: EnginePeer) -> None:
    engine_peer.engine.hash_start()
    engine_peer.engine.hash_data(b"code")
    assert tester.run(CC.GET_RANDOM, params=b"\x00\x01").rc == 0
    engine_peer.engine.hash_end()
    assert pcr_values(tester)[17] == b"\xff" * 32


def test_sessions_and_objects_over_a_resume(both: Both) -> None:
    """What was loaded is gone; what was saved before can be loaded, but not twice."""
    found = []
    for tester in both:
        kept, lost = tester.start_session(), tester.start_session(SE.POLICY)
        context = tester.run(CC.CONTEXT_SAVE, [kept.handle]).parameters
        key = areas.loaded_primary(tester, areas.storage())
        key_context = tester.run(CC.CONTEXT_SAVE, [key]).parameters
        assert cycle(tester, SU.STATE, SU.STATE) == 0
        found.append(
            (
                _ends(tester, lost),
                tester.run(CC.READ_PUBLIC, [key]).rc,
                tester.run(CC.CONTEXT_LOAD, params=context).rc,
                tester.run(CC.CONTEXT_LOAD, params=context).rc,
                tester.run(CC.CONTEXT_LOAD, params=key_context).rc,
                _ends(tester, kept),
            )
        )
    assert found[0] == found[1]
    lost_code, public_code, first, second, object_code, kept_code = found[0]
    assert (first, object_code, kept_code) == (0, 0, 0)
    assert second == parameter_error(RC.HANDLE, 1)
    assert public_code == RC.REFERENCE_H0
    assert lost_code == parameter_error(RC.HANDLE, 1)


def _ends(tester: Tester, session: Session) -> int:
    return tester.run(CC.FLUSH_CONTEXT, params=session.handle.to_bytes(4)).rc


CHANGES: dict[int, tuple[list[int], bytes]] = {
    CC.PCR_EXTEND: ([0], EXTEND),
    CC.HIERARCHY_CHANGE_AUTH: ([RH.OWNER], sized(b"")),
    CC.CLOCK_SET: ([RH.OWNER], (1 << 20).to_bytes(8)),
}


@pytest.mark.parametrize("code", CHANGES, ids=lambda code: CC(code).name)
def test_what_changes_saved_state_ends_a_shutdown(tester: Tester, code: int) -> None:
    handles, params = CHANGES[code]
    assert tester.run(CC.SHUTDOWN, params=b"\x00\x01").rc == 0
    assert tester.run(code, handles, params, [Password()]).rc == 0
    tester.peer.reset()
    assert tester.startup(SU.STATE) == parameter_error(RC.VALUE, 1)
    assert tester.startup() == 0
    assert read_clock(tester).safe == 0


def test_telling_the_clock_ends_a_shutdown(tester: Tester) -> None:
    """Else Clock might go back behind what was told, and be called safe (Part 1, 33.3.3)."""
    assert tester.run(CC.SHUTDOWN, params=b"\x00\x00").rc == 0
    read_clock(tester)
    tester.peer.reset()
    assert tester.startup() == 0
    assert read_clock(tester).safe == 0


def test_what_only_looks_keeps_a_shutdown(tester: Tester) -> None:
    extend(tester, 0)
    values = pcr_values(tester)
    assert tester.run(CC.SHUTDOWN, params=b"\x00\x01").rc == 0
    for code, params in (
        (CC.GET_RANDOM, b"\x00\x10"),
        (CC.TEST_PARMS, areas.words(ALG.SYMCIPHER) + areas.AES_128_CFB),
        (CC.ECC_PARAMETERS, b"\x00\x03"),
        (CC.SELF_TEST, b"\x01"),
        (CC.INCREMENTAL_SELF_TEST, bytes(4)),
        (CC.GET_TEST_RESULT, b""),
    ):
        assert tester.run(code, params=params).rc == 0
    assert pcr_values(tester) == values
    assert tester.run(CC.HIERARCHY_CHANGE_AUTH, [RH.OWNER], b"", [Password()]).rc != 0
    tester.peer.reset()
    assert tester.startup(SU.STATE) == 0
    assert pcr_values(tester)[:16] == values[:16]


def test_no_saved_state_with_another_pcr_allocation_pending(both: Both) -> None:
    params = struct.pack(">IHB", 1, ALG.SHA1, 3) + bytes(3)
    for tester in both:
        assert tester.run(CC.PCR_ALLOCATE, [RH.PLATFORM], params, [Password()]).rc == 0
    assert agreed(both, Tester.run, CC.SHUTDOWN, [], b"\x00\x01").rc == parameter_error(RC.TYPE, 1)
    assert agreed(both, Tester.run, CC.SHUTDOWN, [], b"\x00\x00").rc == 0


@pytest.mark.parametrize(
    ("shutdown", "startup"), [(SU.CLEAR, SU.CLEAR), (SU.STATE, SU.CLEAR), (SU.STATE, SU.STATE)]
)
def test_the_platform_begins_anew_but_for_a_resume(both: Both, shutdown: SU, startup: SU) -> None:
    """platformAuth and platformPolicy are the firmware's, which sets them at every start."""
    policy = sized(bytes(32)) + ALG.SHA256.to_bytes(2)
    resumes = startup == SU.STATE
    for tester in both:
        assert tester.run(CC.SET_PRIMARY_POLICY, [RH.PLATFORM], policy, [Password()]).rc == 0
        changed = tester.run(CC.HIERARCHY_CHANGE_AUTH, [RH.PLATFORM], sized(b"x"), [Password()])
        assert changed.rc == 0
        assert tester.run(CC.SHUTDOWN, params=shutdown.to_bytes(2)).rc == 0
        tester.peer.reset()
        assert tester.startup(startup) == 0
        session = tester.start_session(SE.POLICY)
        used = tester.run(CC.SET_PRIMARY_POLICY, [RH.PLATFORM], policy, [session])
        assert used.rc == (0 if resumes else RC.AUTH_UNAVAILABLE)
        password = Password(b"x" if resumes else b"")
        assert tester.run(CC.SET_PRIMARY_POLICY, [RH.PLATFORM], policy, [password]).rc == 0

"""Part 3, chapter 22: PCRs, their localities, banks, digests and counters."""

import itertools
import struct

import pytest

from tests.tpm import areas
from tests.tpm.agreement import agreed, handle_error, parameter_error
from tests.tpm.harness import EnginePeer, Password, Result, Tester, digest, sized
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.constants import ALG, CC, RH, SU

Both = tuple[Tester, Tester]

BANKS = (ALG.SHA1, ALG.SHA256, ALG.SHA384, ALG.SHA512)
OWN_DIGEST = b"\x00\x00\x00\x01\x00\x0b" + bytes(range(32))


def selection(*banks: tuple[int, bytes]) -> bytes:
    """TPML_PCR_SELECTION."""
    chosen = b"".join(struct.pack(">HB", alg, len(pcrs)) + pcrs for alg, pcrs in banks)
    return len(banks).to_bytes(4) + chosen


def read(tester: Tester, *banks: tuple[int, bytes]) -> Result:
    return tester.run(CC.PCR_READ, params=selection(*banks))


def counter(tester: Tester) -> int:
    return int.from_bytes(read(tester).parameters[:4])


def extend(tester: Tester, pcr: int, *algs: int) -> Result:
    digests = b"".join(alg.to_bytes(2) + digest(alg, b"event") for alg in algs)
    return tester.run(CC.PCR_EXTEND, [pcr], len(algs).to_bytes(4) + digests, [Password()])


@pytest.mark.parametrize("locality", range(5))
def test_localities_of_every_pcr(both: Both, locality: int) -> None:
    """Extend, event and reset, with the values and counters they leave."""
    for pcr in range(24):
        for tester in both:
            tester.peer.set_locality(locality)
        run = Tester.run
        agreed(both, run, CC.PCR_EXTEND, [pcr], OWN_DIGEST, [Password()])
        agreed(both, run, CC.PCR_EVENT, [pcr], sized(b"event"), [Password()])
        mask = (1 << pcr).to_bytes(3, "little")
        agreed(both, read, *[(bank, mask) for bank in BANKS])
        agreed(both, run, CC.PCR_RESET, [pcr], auths=[Password()])
        agreed(both, read, *[(bank, mask) for bank in BANKS])


@pytest.mark.parametrize("alg", BANKS)
def test_extending(tester: Tester, alg: ALG) -> None:
    expected = bytes(len(digest(alg)))
    for _ in range(3):
        assert extend(tester, 10, alg).rc == 0
        expected = digest(alg, expected, digest(alg, b"event"))
        assert read(tester, (alg, b"\x00\x04\x00")).parameters.endswith(sized(expected))


def test_extending_several_banks_and_none(both: Both) -> None:
    for algs in ((), BANKS, BANKS[::-1], (ALG.SHA256, ALG.SHA256)):
        agreed(both, extend, 3, *algs)
        agreed(both, read, *[(bank, b"\x08\x00\x00") for bank in BANKS])
    assert agreed(both, extend, RH.NULL, ALG.SHA256).rc == 0
    wrong = b"\x00\x00\x00\x01\x00\x10"
    for params in (wrong, b"\x00\x00\x00\x01\x00\x00" + bytes(32), b"\x00\x00\x00\x02\x00\x0b"):
        answer = agreed(both, Tester.run, CC.PCR_EXTEND, [0], params, [Password()])
        assert answer.rc & 0xF40 == 0x140


def test_events(both: Both) -> None:
    """Digests of all banks, in order; PCRs extended with them; or just told, without a PCR."""
    event = b"an event" * 128
    told = [digest(alg, event) for alg in BANKS]
    entries = b"".join(alg.to_bytes(2) + value for alg, value in zip(BANKS, told, strict=True))
    for handle in (5, RH.NULL):
        answer = agreed(both, Tester.run, CC.PCR_EVENT, [handle], sized(event), [Password()])
        assert answer.parameters == b"\x00\x00\x00\x04" + entries
    value = agreed(both, read, (ALG.SHA384, b"\x20\x00\x00")).parameters[-48:]
    assert value == digest(ALG.SHA384, bytes(48), told[2])
    too_long = sized(bytes(1025))
    answer = agreed(both, Tester.run, CC.PCR_EVENT, [5], too_long, [Password()])
    assert answer.rc == parameter_error(RC.SIZE, 1)


@pytest.mark.parametrize("size", range(6))
@pytest.mark.parametrize("mask", [0x00, 0x01, 0xFF])
def test_reading_selections_of_every_size(both: Both, size: int, mask: int) -> None:
    for alg in (*BANKS, ALG.NULL, 0x12, 0):
        agreed(both, read, (alg, bytes((mask,)) * size))


def test_reading_more_than_fits(both: Both) -> None:
    """Eight values at most; the selection tells which."""
    everything = b"\xff\xff\xff"
    for masks in itertools.product((everything, b"\xfe\x01\x00", b"\x00\x00\x80"), repeat=2):
        answer = agreed(both, read, (ALG.SHA256, masks[0]), (ALG.SHA1, masks[1]))
        assert answer.rc == 0
    agreed(both, read, *[(alg, everything) for alg in BANKS])
    assert agreed(both, read, *[(ALG.SHA1, everything)] * 5).rc == parameter_error(RC.SIZE, 1)
    for text in (b"", b"\x00", bytes(3), b"\x00\x00\x00\x01", b"\x00\x00\x00\x01\x00\x0b\x03"):
        assert agreed(both, Tester.run, CC.PCR_READ, [], text).rc == parameter_error(
            RC.INSUFFICIENT, 1
        )


def test_the_update_counter(both: Both) -> None:
    """Counts each bank; not PCRs 16 and 21 to 23."""
    for pcr in (0, 16, 23):
        before = counter(both[0])
        for tester in both:
            assert extend(tester, pcr, *BANKS).rc == 0
        assert counter(both[0]) == counter(both[1])
        assert counter(both[0]) - before == (4 if pcr == 0 else 0)


def test_an_h_crtm_event_does_not_count(both: Both) -> None:
    """It comes before the counter is restored, and resets a PCR that a restart resets anyway."""
    counted = []
    for tester in both:
        steps = []
        for events in (0, 1, 2):
            before = counter(tester)
            assert tester.run(CC.SHUTDOWN, params=SU.STATE.to_bytes(2)).rc == 0
            tester.peer.reset()
            for _ in range(events):
                tester.peer.hash_event(b"H-CRTM")
            assert tester.startup() == 0
            steps.append(counter(tester) - before)
        counted.append(steps)
    assert counted[0] == counted[1]
    assert len(set(counted[0])) == 1


def allocate(tester: Tester, *banks: tuple[int, bytes]) -> Result:
    return tester.run(CC.PCR_ALLOCATE, [RH.PLATFORM], selection(*banks), [Password()])


def test_allocating_banks(both: Both) -> None:
    everything, nothing = b"\xff\xff\xff", bytes(3)
    answer = agreed(both, allocate, (ALG.SHA1, nothing), (ALG.SHA384, b"\x01\x00\x02"))
    success, most, needed, available = struct.unpack(">BIII", answer.parameters)
    assert (success, most) == (1, 24)
    assert needed == 24 * 32 + 24 * 64 + 3 * 48 - 48
    assert available >= needed
    assert agreed(both, read, (ALG.SHA1, b"\x01\x00\x00")).rc == 0
    for tester in both:
        tester.reset()
    agreed(both, read, (ALG.SHA1, everything), (ALG.SHA384, everything))
    answer = agreed(both, Tester.run, CC.GET_CAPABILITY, [], struct.pack(">III", 5, 0, 9))
    assert answer.parameters[5:] == selection(
        (ALG.SHA1, nothing),
        (ALG.SHA256, everything),
        (ALG.SHA384, b"\x01\x00\x02"),
        (ALG.SHA512, everything),
    )
    agreed(both, Tester.run, CC.PCR_EVENT, [17], sized(b""), [Password()])
    agreed(both, extend, 1, *BANKS)
    agreed(both, read, *[(alg, everything) for alg in BANKS[2:]])


def test_the_last_allocation_counts(both: Both) -> None:
    """Each replaces the one before, and goes on from what is in force."""
    everything, nothing = b"\xff\xff\xff", bytes(3)
    for bank in (ALG.SHA1, ALG.SHA384):
        needed = agreed(both, allocate, (bank, nothing)).parameters[5:9]
        assert int.from_bytes(needed) == 24 * (20 + 32 + 48 + 64 - len(digest(bank)))
    for tester in both:
        tester.reset()
    answer = agreed(both, Tester.run, CC.GET_CAPABILITY, [], struct.pack(">III", 5, 0, 9))
    kept = {bank: nothing if bank == ALG.SHA384 else everything for bank in BANKS}
    assert answer.parameters[5:] == selection(*kept.items())


def test_h_crtm_and_d_rtm_pcrs_have_to_stay(both: Both) -> None:
    nothing = bytes(3)
    for kept in (nothing, b"\x01\x00\x00", b"\x00\x00\x02"):
        answer = agreed(
            both, allocate, (ALG.SHA256, kept), *[(a, nothing) for a in BANKS if a != 11]
        )
        assert answer.rc == RC.PCR
    again = agreed(both, allocate, (ALG.SHA256, nothing), (ALG.SHA256, b"\x01\x00\x02"))
    assert again.rc == 0


def test_an_allocation_survives_disorderly_ends(engine_peer: EnginePeer, tester: Tester) -> None:
    assert allocate(tester, (ALG.SHA1, bytes(3))).rc == 0
    tester.reset()
    tester.reset()
    assert "sha1" in engine_peer.engine.pcr_values()
    assert engine_peer.engine.pcr_values()["sha1"] == {}
    assert tester.run(CC.SHUTDOWN, params=SU.STATE.to_bytes(2)).rc == 0


def test_auth_values_of_pcrs(both: Both) -> None:
    for tester in both:
        tester.peer.set_locality(2)
    for pcr in range(24):
        answer = agreed(
            both, Tester.run, CC.PCR_SET_AUTH_VALUE, [pcr], sized(b"auth\0"), [Password()]
        )
        if pcr in (20, 21, 22):
            assert answer.rc == 0
            one = agreed(both, Tester.run, CC.PCR_EXTEND, [20], OWN_DIGEST, [Password()])
            assert one.rc == 0x9A2
            cleared = [Password(b"auth")]
            agreed(both, Tester.run, CC.PCR_SET_AUTH_VALUE, [pcr], sized(b""), cleared)
        else:
            assert answer.rc == RC.VALUE


def test_policies_of_pcrs(both: Both) -> None:
    for pcr, size, alg in ((0, 32, 0xB), (20, 31, 0xB), (20, 0, 0xB), (20, 0, 0x10), (24, 0, 0x10)):
        params = sized(bytes(size)) + alg.to_bytes(2) + pcr.to_bytes(4)
        agreed(both, Tester.run, CC.PCR_SET_AUTH_POLICY, [RH.PLATFORM], params, [Password()])
    assert agreed(both, Tester.run, CC.PCR_RESET, [24], auths=[Password()]).rc == handle_error(
        RC.VALUE, 1
    )


def test_a_changed_pcr_voids_a_policy(both: Both) -> None:
    """Even if the PCR has the same value again; and over a resume, as PCRs are reset by it."""
    for tester in both:
        session = tester.start_session(0x01)
        pcrs = selection((ALG.SHA256, b"\x00\x00\x01"))
        assert tester.run(CC.POLICY_PCR, [session.handle], sized(b"") + pcrs).rc == 0
        context = tester.run(CC.CONTEXT_SAVE, [session.handle]).parameters
        assert tester.run(CC.SHUTDOWN, params=SU.STATE.to_bytes(2)).rc == 0
        tester.peer.reset()
        assert tester.startup(SU.STATE) == 0
        assert tester.run(CC.CONTEXT_LOAD, params=context).rc == 0
        policy = tester.run(CC.POLICY_GET_DIGEST, [session.handle]).sized()
        template = areas.keyedhash(areas.FIXED | areas.NO_DA, policy=policy)
        handle = areas.loaded_primary(tester, template, data=b"sealed")
        assert tester.run(CC.UNSEAL, [handle], auths=[session]).rc == RC.PCR_CHANGED

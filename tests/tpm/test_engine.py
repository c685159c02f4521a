"""What a host does with an engine, and what it can rely on."""

import struct
from collections.abc import Callable

import pytest

from tests.tpm import areas
from tests.tpm.harness import EnginePeer, HostClock, Password, Tester, engine_state, sized
from tests.tpm.raw import code_of, framed
from vtpmd.tpm.command import COMMANDS
from vtpmd.tpm.engine import LONG_COMMANDS, Engine, Reply
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.constants import ALG, CC, RH, SE

STARTUP = framed(CC.STARTUP, b"\0\0")
GET_RANDOM = framed(CC.GET_RANDOM, b"\0\x08")
SECRET = b"a secret of the guest"


def test_unknown_profiles_and_banks() -> None:
    for profile, banks in (
        ("default-v99", ["sha256"]),
        ("default-v1", []),
        ("default-v1", ["sha256", "md5"]),
        ("default-v1", ["sha3-256"]),
    ):
        with pytest.raises(ValueError):
            Engine.manufacture(profile, banks, bytes, HostClock())


@pytest.mark.parametrize("banks", [["sha256"], ["sha256", "sha384"], ["sha1", "sha512"]])
def test_manufactured_with_the_banks_that_were_chosen(banks: list[str]) -> None:
    peer = EnginePeer.manufactured(banks)
    assert Tester(peer).startup() == 0
    values = peer.engine.pcr_values()
    assert {name for name, bank in values.items() if bank} == set(banks)
    assert all(len(bank) in (0, 24) for bank in values.values())


def test_manufactured_with_endorsement_keys(tester: Tester) -> None:
    """EK templates L-1 and L-2 at the handles of the EK profile; of each TPM its own."""
    other = Tester(EnginePeer.manufactured())
    assert other.startup() == 0
    for handle in (0x81010001, 0x8101000A):
        mine, others = (t.run(CC.READ_PUBLIC, [handle]).sized() for t in (tester, other))
        assert len(mine) == len(others)
        assert mine != others
    assert tester.run(CC.READ_PUBLIC, [0x81010001]).sized()[:2] == areas.words(ALG.RSA)


def test_powered_off(engine_peer: EnginePeer) -> None:
    engine = engine_peer.engine
    assert engine.running
    engine.execute(STARTUP, 0)
    assert engine.shutdown_needed
    engine.power_off()
    assert not engine.running
    assert not engine.shutdown_needed
    assert engine.pcr_values() == {}


def test_a_shutdown_is_needed_until_there_was_one(engine_peer: EnginePeer) -> None:
    engine = engine_peer.engine
    assert not engine.shutdown_needed
    for command, needed in (
        (STARTUP, True),
        (framed(CC.SHUTDOWN, b"\0\0"), False),
        (GET_RANDOM, False),
        (framed(CC.HASH, sized(b"x") + b"\0\x0b" + RH.NULL.to_bytes(4)), True),
    ):
        assert code_of(engine.execute(command, 0).response) == 0
        assert engine.shutdown_needed is needed


def test_only_changes_are_given_to_the_host(tester: Tester, engine_peer: EnginePeer) -> None:
    engine = engine_peer.engine
    for command in (GET_RANDOM, framed(CC.READ_CLOCK), framed(CC.PCR_READ, bytes(4))):
        assert engine.execute(command, 0).nv is None
    change = struct.pack(">I", RH.OWNER) + b"\0\0\0\x09\x40\0\0\x09\0\0\0\0\0" + sized(b"x")
    reply = engine.execute(framed(CC.HIERARCHY_CHANGE_AUTH, change, 0x8002), 0)
    assert reply.nv == engine.permanent()


def test_nothing_secret_is_shown(engine_peer: EnginePeer) -> None:
    reply = engine_peer.engine.execute(STARTUP, 0)
    assert reply.nv is not None
    assert "seed" not in repr(reply)
    assert "response" not in repr(reply)
    state = engine_peer.engine._tpm
    shown = repr(state.permanent) + repr(state.reset)
    for hierarchy in (state.permanent.owner, state.reset.null):
        assert hierarchy.seed.hex() not in shown
        assert repr(hierarchy.seed) not in shown
        assert repr(hierarchy.proof) not in shown


def test_locality_is_that_of_the_command(tester: Tester, engine_peer: EnginePeer) -> None:
    reset = framed(CC.PCR_RESET, b"\0\0\0\x14\0\0\0\x09\x40\0\0\x09\0\0\0\0\0", 0x8002)
    codes = [code_of(engine_peer.engine.execute(reset, locality).response) for locality in range(4)]
    assert codes == [RC.LOCALITY, RC.LOCALITY, 0, RC.LOCALITY]


def test_established(engine_peer: EnginePeer) -> None:
    engine = engine_peer.engine
    assert not engine.established
    engine.hash_start()
    assert engine.established
    for locality, done in ((0, False), (1, False), (2, False), (3, True)):
        assert engine.reset_established(locality) is done
        assert engine.established is not done
    engine.hash_start()
    assert engine.reset_established(4)


def test_data_outside_of_an_event_is_ignored(tester: Tester, engine_peer: EnginePeer) -> None:
    before = engine_state(engine_peer.engine)
    engine_peer.engine.hash_data(b"data")
    engine_peer.engine.hash_end()
    assert engine_state(engine_peer.engine) == before


def test_long_commands_can_be_canceled(tester: Tester, engine_peer: EnginePeer) -> None:
    engine = engine_peer.engine
    parent = areas.loaded_primary(tester, areas.storage())
    template = areas.rsa(areas.OWN | areas.STORAGE, symmetric=areas.AES_128_CFB)
    body = parent.to_bytes(4) + b"\0\0\0\x09\x40\0\0\x09\0\0\0\0\0"
    create = framed(CC.CREATE, body + areas.create_parameters(template), 0x8002)
    assert CC.CREATE in LONG_COMMANDS
    assert CC.GET_RANDOM not in LONG_COMMANDS
    engine.cancel()
    # What was asked for before a command is not to cancel it.
    assert code_of(engine.execute(GET_RANDOM, 0).response) == 0
    before = engine_state(engine)
    draw = engine._tpm.entropy

    def cancel_and_draw(size: int) -> bytes:
        engine.cancel()
        return draw(size)

    engine._tpm.entropy = cancel_and_draw
    assert code_of(engine.execute(create, 0).response) == RC.CANCELED
    assert engine_state(engine) == before


class BrokenError(Exception):
    """A defect."""


def break_action(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Let an action raise what no action may raise, with values of the guest in its text."""

    def action(*arguments: object) -> None:
        raise BrokenError(SECRET, arguments)

    spec = COMMANDS[code]
    broken = type(spec)(
        **{name: getattr(spec, name) for name in type(spec).__slots__} | {"action": action}
    )
    monkeypatch.setitem(COMMANDS, code, broken)


def test_a_defect_is_failure_mode(
    tester: Tester, engine_peer: EnginePeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_peer.engine
    break_action(monkeypatch, CC.STIR_RANDOM)
    stir = framed(CC.STIR_RANDOM, sized(SECRET))
    stored = engine.permanent()
    assert engine.execute(stir, 0) == Reply(framed(RC.FAILURE))
    assert engine.failed
    assert engine.defect is not None
    assert "BrokenError" in engine.defect
    assert "run_action" in engine.defect
    assert "secret" not in engine.defect
    assert engine.permanent() == stored
    assert code_of(engine.execute(GET_RANDOM, 0).response) == RC.FAILURE
    assert code_of(engine.execute(STARTUP, 0).response) == RC.FAILURE
    result = engine.execute(framed(CC.GET_TEST_RESULT), 0).response
    assert result[10:] == bytes(2) + RC.FAILURE.to_bytes(4)
    told = engine.execute(framed(CC.GET_CAPABILITY, struct.pack(">III", 6, 0x100, 1)), 0).response
    assert told[19:] == struct.pack(">I", 0x100) + b"2.0\0"
    assert not engine.shutdown_needed
    engine.power_off()
    engine.power_on()
    assert not engine.failed
    assert engine.defect is None
    assert code_of(engine.execute(STARTUP, 0).response) == 0


def test_a_defect_after_a_change_stores_nothing(
    tester: Tester, engine_peer: EnginePeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_peer.engine
    spec = COMMANDS[CC.CLEAR_CONTROL]

    def action(*arguments: object) -> None:
        spec.action(*arguments)
        raise BrokenError

    broken = type(spec)(
        **{name: getattr(spec, name) for name in type(spec).__slots__} | {"action": action}
    )
    monkeypatch.setitem(COMMANDS, CC.CLEAR_CONTROL, broken)
    area = RH.PLATFORM.to_bytes(4) + b"\0\0\0\x09\x40\0\0\x09\0\0\0\0\0\x01"
    assert engine.execute(framed(CC.CLEAR_CONTROL, area, 0x8002), 0).nv is None
    capability = framed(CC.GET_CAPABILITY, struct.pack(">III", 6, 0x100, 1))
    assert engine.execute(capability, 0).nv is None


def test_failure_mode_stores_nothing(tester: Tester, engine_peer: EnginePeer) -> None:
    """Not even when Clock has to be stored: half of something may have been changed."""
    engine = engine_peer.engine
    engine.enter_failure_mode()
    engine_peer.clock.milliseconds += 1 << 23
    assert engine.execute(framed(CC.GET_TEST_RESULT), 0).nv is None


INDEX = struct.pack(">IHIHH", 0x01500000, ALG.SHA256, 0x02040004, 0, 8)
WRITERS: dict[str, Callable[[Tester], int]] = {
    "Clear": lambda t: t.run(CC.CLEAR, [RH.LOCKOUT], auths=[Password()]).rc,
    "ClearControl": lambda t: t.run(CC.CLEAR_CONTROL, [RH.PLATFORM], b"\1", [Password()]).rc,
    "ChangeEPS": lambda t: t.run(CC.CHANGE_EPS, [RH.PLATFORM], auths=[Password()]).rc,
    "ChangePPS": lambda t: t.run(CC.CHANGE_PPS, [RH.PLATFORM], auths=[Password()]).rc,
    "HierarchyChangeAuth": lambda t: (
        t.run(CC.HIERARCHY_CHANGE_AUTH, [RH.OWNER], sized(b"x"), [Password()]).rc
    ),
    "SetPrimaryPolicy": lambda t: (
        t.run(CC.SET_PRIMARY_POLICY, [RH.OWNER], sized(bytes(32)) + b"\0\x0b", [Password()]).rc
    ),
    "DictionaryAttackParameters": lambda t: (
        t.run(CC.DICTIONARY_ATTACK_PARAMETERS, [RH.LOCKOUT], bytes(12), [Password()]).rc
    ),
    "PCR_Allocate": lambda t: (
        t.run(CC.PCR_ALLOCATE, [RH.PLATFORM], b"\0\0\0\1\0\4\3\0\0\0", [Password()]).rc
    ),
    "PCR_SetAuthPolicy": lambda t: (
        t.run(CC.PCR_SET_AUTH_POLICY, [RH.PLATFORM], b"\0\0\0\x10\0\0\0\x14", [Password()]).rc
    ),
    "ClockSet": lambda t: t.run(CC.CLOCK_SET, [RH.OWNER], (1 << 40).to_bytes(8), [Password()]).rc,
    "NV_DefineSpace": lambda t: (
        t.run(CC.NV_DEFINE_SPACE, [RH.OWNER], b"\0\0" + sized(INDEX), [Password()]).rc
    ),
    "EvictControl": lambda t: (
        t.run(CC.EVICT_CONTROL, [RH.OWNER, 0x80000000], (0x81000001).to_bytes(4), [Password()]).rc
    ),
    "EvictControl of a persistent one": lambda t: (
        t.run(CC.EVICT_CONTROL, [RH.OWNER, 0x81010001], (0x81010001).to_bytes(4), [Password()]).rc
    ),
    "SetCommandCodeAuditStatus": lambda t: (
        t.run(
            CC.SET_COMMAND_CODE_AUDIT_STATUS,
            [RH.OWNER],
            b"\0\x10" + struct.pack(">III", 1, CC.CLEAR, 0),
            [Password()],
        ).rc
    ),
    "Shutdown(CLEAR)": lambda t: t.run(CC.SHUTDOWN, params=b"\0\0").rc,
    "Shutdown(STATE)": lambda t: t.run(CC.SHUTDOWN, params=b"\0\1").rc,
}


@pytest.mark.parametrize("name", WRITERS)
def test_what_cannot_be_stored_is_not_done(
    tester: Tester, engine_peer: EnginePeer, name: str
) -> None:
    areas.loaded_primary(tester, areas.storage())
    engine_peer.engine.nv_available = False
    before = engine_peer.engine.permanent(), engine_peer.engine.volatile()
    assert WRITERS[name](tester) == RC.NV_UNAVAILABLE
    assert (engine_peer.engine.permanent(), engine_peer.engine.volatile()) == before
    engine_peer.engine.nv_available = True
    assert WRITERS[name](tester) == 0


def test_startup_has_to_be_stored(engine_peer: EnginePeer) -> None:
    engine = engine_peer.engine
    engine.nv_available = False
    before = engine.permanent(), engine.volatile()
    for kind in (b"\0\0",):
        assert code_of(engine.execute(framed(CC.STARTUP, kind), 0).response) == RC.NV_UNAVAILABLE
    assert (engine.permanent(), engine.volatile()) == before


def test_what_changes_only_memory_needs_no_storage(tester: Tester, engine_peer: EnginePeer) -> None:
    engine_peer.engine.nv_available = False
    digest = b"\0\0\0\1\0\x0b" + bytes(32)
    assert tester.run(CC.PCR_EXTEND, [0], digest, [Password()]).rc == 0
    assert tester.run(CC.CLOCK_RATE_ADJUST, [RH.OWNER], b"\1", [Password()]).rc == 0
    handle = areas.loaded_primary(tester, areas.storage())
    assert tester.run(CC.CONTEXT_SAVE, [handle]).rc == 0
    assert tester.start_session(SE.POLICY).handle == 0x03000000


def test_an_orderly_end_is_undone_only_if_that_can_be_stored(
    tester: Tester, engine_peer: EnginePeer
) -> None:
    assert tester.run(CC.SHUTDOWN, params=b"\0\1").rc == 0
    engine_peer.engine.nv_available = False
    digest = b"\0\0\0\1\0\x0b" + bytes(32)
    assert tester.run(CC.PCR_EXTEND, [0], digest, [Password()]).rc == RC.NV_UNAVAILABLE
    assert tester.run(CC.GET_RANDOM, params=b"\0\1").rc == 0
    engine_peer.engine.nv_available = True
    assert tester.run(CC.PCR_EXTEND, [0], digest, [Password()]).rc == 0


def test_audited_commands_need_storage_for_a_new_sequence(
    tester: Tester, engine_peer: EnginePeer
) -> None:
    code = CC.SET_COMMAND_CODE_AUDIT_STATUS
    for alg, commands in ((ALG.NULL, (CC.GET_RANDOM,)), (ALG.SHA384, ())):
        listed = b"".join(command.to_bytes(4) for command in commands)
        audit = alg.to_bytes(2) + len(commands).to_bytes(4) + listed + bytes(4)
        assert tester.run(code, [RH.OWNER], audit, [Password()]).rc == 0
    engine_peer.engine.nv_available = False
    assert tester.run(CC.GET_RANDOM, params=b"\0\1").rc == RC.NV_UNAVAILABLE
    engine_peer.engine.nv_available = True
    assert tester.run(CC.GET_RANDOM, params=b"\0\1").rc == 0
    engine_peer.engine.nv_available = False
    assert tester.run(CC.GET_RANDOM, params=b"\0\1").rc == 0


def test_banks_stay_until_the_next_start(tester: Tester, engine_peer: EnginePeer) -> None:
    """Also elsewhere: a bank that appears in between would have PCRs that nobody extended."""
    no_sha1 = b"\0\0\0\1\0\4\3\0\0\0"
    assert tester.run(CC.PCR_ALLOCATE, [RH.PLATFORM], no_sha1, [Password()]).rc == 0
    before = engine_peer.engine.pcr_values()
    assert len(before["sha1"]) == 24
    engine_peer.carry_over()
    assert engine_peer.engine.pcr_values() == before
    tester.peer.reset()
    engine_peer.carry_over()
    assert tester.startup() == 0
    assert not engine_peer.engine.pcr_values()["sha1"]


def test_moving_to_another_host(tester: Tester, engine_peer: EnginePeer) -> None:
    """Both states carry everything over; the host's clock may show any other time."""
    handle = areas.loaded_primary(tester, areas.sealed(), auth=b"x", data=b"data")
    session = tester.start_session()
    session.auth_value = b"x"
    engine_peer.clock.milliseconds += 5000
    before = tester.run(CC.READ_CLOCK).parameters
    engine_peer.clock.milliseconds += 100
    permanent, volatile = engine_peer.engine.permanent(), engine_peer.engine.volatile()
    engine_peer.clock.milliseconds = 77
    engine_peer.engine = Engine.restore(permanent, bytes, engine_peer.clock)
    engine_peer.engine.power_on(volatile)
    engine_peer.keep()
    assert tester.run(CC.UNSEAL, [handle], auths=[session]).sized() == b"data"
    after = tester.run(CC.READ_CLOCK).parameters
    assert int.from_bytes(after[:8]) - int.from_bytes(before[:8]) == 100
    assert after[16:] == before[16:]

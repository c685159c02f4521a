"""The state's encoding: what is written is read again, and nothing else is read."""

import hashlib
import struct
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path
from typing import Any

import cbor2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.tpm import areas, states
from tests.tpm.harness import EnginePeer, HostClock, Password, Tester, sized
from vtpmd.tpm import schema
from vtpmd.tpm.engine import Engine
from vtpmd.tpm.snapshot import VERSION, StateError
from vtpmd.tpm.wire.attributes import TPMA_NV
from vtpmd.tpm.wire.constants import ALG, CC, RH, SE, SU

Step = Callable[[Tester, int], object]


class Entropy:
    """The same octets in every run: an engine and its copy draw the same."""

    def __init__(self, drawn: int = 0) -> None:
        self.drawn = drawn

    def __call__(self, size: int) -> bytes:
        self.drawn += 1
        return (self.drawn.to_bytes(4) * (size // 4 + 1))[:size]


def _session(tester: Tester, number: int) -> object:
    kind = (SE.HMAC, SE.POLICY, SE.TRIAL)[number % 3]
    params = sized(bytes(16)) + b"\0\0" + bytes((kind,)) + areas.AES_128_CFB + b"\0\x0b"
    return tester.run(CC.START_AUTH_SESSION, [RH.NULL, (RH.NULL, RH.LOCKOUT)[number % 2]], params)


def _policy(tester: Tester, number: int) -> object:
    handle = 0x03000000 + number % 4
    steps = (
        (CC.POLICY_AUTH_VALUE, b""),
        (CC.POLICY_PCR, sized(b"") + struct.pack(">IHB", 1, ALG.SHA256, 3) + b"\x01\0\0"),
        (CC.POLICY_LOCALITY, b"\x01"),
        (CC.POLICY_COMMAND_CODE, CC.UNSEAL.to_bytes(4)),
        (CC.POLICY_CP_HASH, sized(bytes(32))),
        (CC.POLICY_NV_WRITTEN, b"\x01"),
    )
    code, params = steps[number % len(steps)]
    return tester.run(code, [handle], params)


def _primary(tester: Tester, number: int) -> object:
    hierarchy = (RH.OWNER, RH.ENDORSEMENT, RH.PLATFORM, RH.NULL)[number % 4]
    st_clear = areas.ST_CLEAR if number % 8 > 3 else 0
    return areas.create_primary(
        tester, areas.storage(areas.OWN | st_clear), hierarchy=hierarchy, auth=b"auth"
    )


def _define(tester: Tester, number: int) -> object:
    kinds = (0, TPMA_NV.ORDERLY, 1 << 4, 2 << 4, 4 << 4, TPMA_NV.CLEAR_STCLEAR)
    size = 32 if number % 6 == 4 else 8
    attributes = TPMA_NV.AUTHREAD | TPMA_NV.AUTHWRITE | TPMA_NV.NO_DA | kinds[number % 6]
    public = struct.pack(">IHIHH", 0x01500000 + number % 6, ALG.SHA256, attributes, 0, size)
    return tester.run(CC.NV_DEFINE_SPACE, [RH.OWNER], b"\0\0" + sized(public), [Password()])


def _use_index(tester: Tester, number: int) -> object:
    handles = [0x01500000 + number % 6] * 2
    code, params = (
        (CC.NV_WRITE, sized(bytes(8)) + b"\0\0"),
        (CC.NV_INCREMENT, b""),
        (CC.NV_READ, b"\0\x08\0\0"),
        (CC.NV_EXTEND, sized(b"x")),
        (CC.NV_SET_BITS, bytes(7) + b"\x05"),
    )[number % 5]
    return tester.run(code, handles, params, [Password()])


def _sequence(tester: Tester, number: int) -> object:
    alg = (ALG.SHA1, ALG.SHA256, ALG.SHA512, ALG.NULL)[number % 4]
    started = tester.run(CC.HASH_SEQUENCE_START, params=sized(b"a") + alg.to_bytes(2))
    if started.handle is not None:
        tester.names[started.handle] = b""
        data = sized(bytes(number))
        tester.run(CC.SEQUENCE_UPDATE, [started.handle], data, [Password(b"a")])
    return started


def _save(tester: Tester, number: int) -> object:
    handle = (0x80000000, 0x80000001, 0x02000000, 0x03000000, 0x03000001)[number % 5]
    return tester.run(CC.CONTEXT_SAVE, [handle])


def _hierarchy(tester: Tester, number: int) -> object:
    enable = (RH.ENDORSEMENT, RH.PLATFORM_NV)[number % 2]
    params = enable.to_bytes(4) + bytes((number // 2 % 2,))
    return tester.run(CC.HIERARCHY_CONTROL, [RH.PLATFORM], params, [Password()])


def _pcr(tester: Tester, number: int) -> object:
    return tester.run(CC.PCR_EVENT, [number % 24], sized(bytes((number,))), [Password()])


def _stop(tester: Tester, number: int) -> object:
    return tester.run(CC.SHUTDOWN, params=(number % 2).to_bytes(2))


def _failure(tester: Tester, number: int) -> object:
    return tester.run(CC.DICTIONARY_ATTACK_LOCK_RESET, [RH.LOCKOUT], auths=[Password(b"wrong")])


def _stir(tester: Tester, number: int) -> object:
    return tester.run(CC.GET_RANDOM, params=number.to_bytes(2))


STEPS: tuple[Step, ...] = (
    *(_session, _policy, _primary, _define, _use_index, _sequence, _save),
    *(_hierarchy, _pcr, _stop, _failure, _stir),
)
WALKS = st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 30)), max_size=25)


def observed(tester: Tester) -> list[bytes]:
    """Answers that tell of all kinds of state."""
    commands = [
        (CC.READ_CLOCK, b""),
        (CC.PCR_READ, struct.pack(">IHB", 1, ALG.SHA256, 3) + b"\xff\xff\xff"),
        *[
            (CC.GET_CAPABILITY, struct.pack(">III", capability, first, 0xFFFF))
            for capability, first in (
                *((1, kind << 24) for kind in (1, 2, 3, 0x40, 0x80, 0x81)),
                *((6, 0x200), (9, 0x40000000), (5, 0)),
            )
        ],
        (CC.GET_RANDOM, b"\0\x40"),
    ]
    answers = [
        tester.raw(struct.pack(">HII", 0x8001, 10 + len(params), code) + params)
        for code, params in commands
    ]
    for step, number in (
        *((_policy, number) for number in range(6)),
        *((_use_index, number) for number in range(30)),
        *((_save, number) for number in range(5)),
        *((_primary, number) for number in range(2)),
    ):
        answers.append(repr(step(tester, number)).encode())
    return answers


def copy_of(peer: EnginePeer, entropy: Entropy) -> EnginePeer:
    """Another engine with the same state, made from its encoding."""
    clock = HostClock()
    permanent, volatile = peer.engine.permanent(), peer.engine.volatile()
    engine = Engine.restore(permanent, Entropy(), clock)
    copy = EnginePeer(engine, clock)
    engine.power_on(volatile)
    engine._tpm.entropy = Entropy(entropy.drawn)
    copy.keep()
    assert engine.permanent() == permanent
    assert engine.volatile() == volatile
    return copy


@pytest.mark.slow
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(walk=WALKS)
def test_a_restored_tpm_answers_as_the_original(manufactured: bytes, walk: list[Any]) -> None:
    entropy = Entropy()
    peer = EnginePeer(Engine.restore(manufactured, entropy, HostClock()), HostClock())
    tester = Tester(peer)
    assert tester.startup() == 0
    for step, number in walk:
        step(tester, number)
    assert_encodes(peer.engine)
    copy = Tester(copy_of(peer, entropy))
    copy.names = dict(tester.names)
    assert observed(copy) == observed(tester)


def restored(permanent: bytes) -> Engine:
    return Engine.restore(permanent, Entropy(), HostClock())


def test_a_newer_version_is_refused_before_anything_is_read(manufactured: bytes) -> None:
    newer = states.FORMAT + (VERSION + 1).to_bytes(4) + b"in some other form"
    with pytest.raises(StateError) as raised:
        restored(newer)
    assert raised.value.kind == "newer"
    assert str(VERSION + 1) in str(raised.value)


def test_what_an_unreleased_version_wrote_is_told() -> None:
    with pytest.raises(StateError, match="layout of an unreleased vtpmd") as raised:
        restored(b'{"format":"vtpmd-tpm-state","version":1,"kind":"permanent"}')
    assert raised.value.kind == "damaged"


@pytest.mark.parametrize("place", ["group", "field", "nested field", "profile"])
def test_what_a_later_version_added_is_refused(manufactured: bytes, place: str) -> None:
    def add(document: dict[str, Any]) -> None:
        match place:
            case "group":
                document["more"] = {}
            case "field":
                document["permanent"]["more"] = 1
            case "nested field":
                document["permanent"]["owner"]["more"] = 1
            case "profile":
                document["profile"] = "default-v99"

    with pytest.raises(StateError) as raised:
        restored(states.changed(manufactured, add))
    assert raised.value.kind == "newer"


def stored_state(kind: str) -> bytes:
    """A state whose schema lacks the fields that have come since."""
    lines = (Path(__file__).parent / "stored_state.txt").read_text().split()
    start = lines.index(kind) + 1
    return bytes.fromhex("".join(takewhile(lambda line: line not in states.KINDS, lines[start:])))


def test_a_state_of_an_earlier_version_opens() -> None:
    """Nothing of it is lost, and what was under way goes on."""
    permanent, volatile = stored_state("permanent"), stored_state("volatile")
    peer = EnginePeer(restored(permanent), HostClock())
    assert_holds(states.read(peer.stored), states.read(permanent))
    peer.engine.power_on(volatile)
    assert_holds(states.read(peer.engine.volatile()), states.read(volatile))
    peer.keep()
    tester = Tester(peer)
    complete = b"\0\0" + RH.NULL.to_bytes(4)
    tester.names[0x80000001] = b""
    hashed = tester.run(CC.SEQUENCE_COMPLETE, [0x80000001], complete, [Password(b"a")])
    assert hashed.rc == 0
    assert hashed.parameters[2:34] == hashlib.sha256(b"\0").digest()
    digest = tester.run(CC.POLICY_GET_DIGEST, [0x03000002])
    assert digest.parameters == sized(hashlib.sha256(bytes(32) + POLICY_LOCALITY).digest())


POLICY_LOCALITY = CC.POLICY_LOCALITY.to_bytes(4) + b"\x01"


def assert_holds(whole: Any, part: Any) -> None:
    """That `whole` is `part`, and perhaps some fields more."""
    if isinstance(part, dict):
        assert part.keys() <= whole.keys()
        for key in part:
            assert_holds(whole[key], part[key])
    else:
        assert whole == part


def test_what_an_earlier_version_lacked_has_its_default(manufactured: bytes) -> None:
    def remove(document: dict[str, Any]) -> None:
        del document["permanent"]["clock_adjustment"], document["clear"]["pcr_auth_value"]

    assert restored(states.changed(manufactured, remove)).permanent() == manufactured


@pytest.mark.parametrize("name", ["owner", "pcr_allocation"])
def test_what_has_no_default_is_needed(manufactured: bytes, name: str) -> None:
    with pytest.raises(StateError) as raised:
        restored(states.changed(manufactured, lambda document: document["permanent"].pop(name)))
    assert raised.value.kind == "damaged"
    assert name in str(raised.value)


def test_kinds_are_not_taken_for_each_other(manufactured: bytes) -> None:
    engine = restored(manufactured)
    engine.power_on()
    volatile = engine.volatile()
    with pytest.raises(StateError):
        restored(volatile)
    with pytest.raises(StateError):
        engine.power_on(manufactured)
    assert engine.volatile() == volatile


def test_states_of_two_profiles_are_none(manufactured: bytes) -> None:
    engine = restored(manufactured)
    engine.power_on()
    other = restored(
        states.changed(manufactured, lambda document: document.update(profile="sha3-v1"))
    )
    with pytest.raises(StateError):
        other.power_on(engine.volatile())
    assert not other.running


HEAD = states.FORMAT + VERSION.to_bytes(4)
NO_DOCUMENTS: tuple[Any, ...] = (
    [],
    {},
    ["permanent"],
    ["permanent", "default-v1", b"\xa0", [], 1],
    ["permanent", [], b"\xa0", []],
    ["permanent", "default-v1", "\xa0", []],
    ["permanent", "default-v1", b"", []],
    ["permanent", "default-v1", b"\xa0", []],
    ["permanent", "default-v1", b"\x80", []],
    [1, "default-v1", b"\xa0", []],
    ["permanent", 1.5, b"\xa0", []],
)


@pytest.mark.parametrize(
    "octets",
    [
        *(b"", b"{}", b"null", b"\xff", b"v", states.FORMAT, HEAD[:-1], HEAD, HEAD + b"\x84"),
        HEAD.replace(b"vtpmd", b"other") + cbor2.dumps(["permanent", "default-v1", b"\xa0", []]),
        states.FORMAT + bytes(4) + cbor2.dumps(["permanent", "default-v1", b"\xa0", []]),
        *(HEAD + cbor2.dumps(parts, canonical=True) for parts in NO_DOCUMENTS),
    ],
)
def test_what_is_no_state(octets: bytes) -> None:
    with pytest.raises(StateError) as raised:
        restored(octets)
    assert raised.value.kind == "damaged"


@pytest.mark.parametrize(
    "change",
    [
        lambda schema: schema.pop("Hierarchy"),
        lambda schema: schema.update(Hierarchy=1),
        lambda schema: schema.update(Hierarchy=[*schema["Hierarchy"][1:], 1]),
        lambda schema: schema.update(Hierarchy=[*schema["Hierarchy"][1:], "proof"]),
        lambda schema: schema.update(Hierarchy=[*schema["Hierarchy"], "proof"]),
        lambda schema: schema.update(Hierarchy=schema["Hierarchy"][:-1]),
        lambda schema: schema.update(StoredState=[]),
    ],
)
def test_schemas_that_are_none(
    manufactured: bytes, change: Callable[[dict[str, Any]], object]
) -> None:
    parts = states.unpack(manufactured)
    change(parts[2])
    with pytest.raises(StateError) as raised:
        restored(states.pack(parts))
    assert raised.value.kind == "damaged"


def test_fields_may_be_in_another_order(manufactured: bytes) -> None:
    def reverse(document: dict[str, Any]) -> None:
        document["permanent"] = dict(reversed(document["permanent"].items()))

    other = states.changed(manufactured, reverse)
    assert other != manufactured
    assert restored(other).permanent() == manufactured


def test_an_older_schema_lacks_dataclasses(manufactured: bytes) -> None:
    """One that came with a field is not needed, unless the state has the field."""
    parts = states.unpack(manufactured)
    del parts[2]["Countdown"]
    assert restored(states.pack(parts)).permanent() == manufactured
    del parts[2]["NvIndex"]
    assert restored(states.pack(parts)).permanent() == manufactured  # it has no NV Index
    del parts[2]["LoadedObject"]
    with pytest.raises(StateError) as raised:
        restored(states.pack(parts))
    assert raised.value.kind == "damaged"


def test_a_field_that_is_gone_is_passed_over(
    manufactured: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def add(document: dict[str, Any]) -> None:
        document["permanent"]["dictionary_attack"] = {
            "gone": [1, {2: b"3"}],
            **document["permanent"]["dictionary_attack"],
        }

    older = states.changed(manufactured, add)
    with pytest.raises(StateError):
        restored(older)
    monkeypatch.setitem(schema.RETIRED, "DictionaryAttack", frozenset({"gone"}))
    assert restored(older).permanent() == manufactured


def assert_encodes(engine: Engine) -> None:
    """That what is encoded is what the state is, value by value."""
    tpm = engine._tpm
    stored, suspended = states.read(engine.permanent()), states.read(engine.volatile())
    for name in ("permanent", "reset", "clear"):
        assert stored[name] == states.values_of(getattr(tpm, name))
    for name in ("reset", "clear", "volatile"):
        assert suspended[name] == states.values_of(getattr(tpm, name))
    assert states.write(stored) == engine.permanent()


def test_what_is_encoded_is_what_the_state_is(furnished: tuple[bytes, bytes]) -> None:
    permanent, volatile = furnished
    engine = restored(permanent)
    engine.power_on(volatile)
    assert_encodes(engine)


def test_what_is_encoded_again_is_what_the_state_is_by_then(manufactured: bytes) -> None:
    """Although encodings of what has not changed are kept."""
    peer = EnginePeer(restored(manufactured), HostClock())
    tester = Tester(peer)
    assert tester.startup() == 0
    for number in range(8):
        for step in (_primary, _sequence, _define, _use_index, _hierarchy, _session, _policy):
            step(tester, number)
            assert_encodes(peer.engine)
    permanent = peer.engine._tpm.permanent
    for auth_value in (b"changed", b""):
        permanent.owner.auth_value = auth_value
        permanent.dictionary_attack.failed_tries += 1
        assert_encodes(peer.engine)


def _damage(draw: st.DrawFn, value: Any) -> Any:
    """The value with something in it replaced."""
    if isinstance(value, dict) and value and draw(st.integers(0, 9)):
        key = draw(st.sampled_from(sorted(value)))
        return {**value, key: _damage(draw, value[key])}
    if isinstance(value, list) and value and draw(st.integers(0, 9)):
        position = draw(st.integers(0, len(value) - 1))
        return [*value[:position], _damage(draw, value[position]), *value[position + 1 :]]
    if isinstance(value, bytes | str) and draw(st.booleans()):
        position = draw(st.integers(0, len(value)))
        drawn: Any = draw(
            st.binary(max_size=5) if isinstance(value, bytes) else st.text(max_size=5)
        )
        return value[:position] + drawn + value[position + 1 :]
    other = st.one_of(
        st.none(), st.booleans(), st.integers(-5, 2**70), st.text(max_size=5), st.just({}),
        st.just([]), st.just({1: b"0"}), st.just({-1: 1}), st.just([[]]), st.floats(),
    )  # fmt: skip
    return draw(other)


@st.composite
def damaged(draw: st.DrawFn, state: bytes) -> bytes:
    parts = states.unpack(state)
    at = draw(st.sampled_from([0, 1, 2, 2, *[3] * 12]))
    return states.pack([*parts[:at], _damage(draw, parts[at]), *parts[at + 1 :]])


@pytest.fixture(scope="module")
def furnished(manufactured: bytes) -> tuple[bytes, bytes]:
    """The permanent and the volatile state of a TPM that has something of everything."""
    peer = EnginePeer(restored(manufactured), HostClock())
    tester = Tester(peer)
    assert tester.startup() == 0
    for step, number in (
        *((_define, number) for number in range(6)),
        *((_session, number) for number in range(3)),
        *((_policy, number) for number in range(6)),
        (_primary, 0),
        *((_sequence, number) for number in (1, 3)),
        (_save, 3),
    ):
        step(tester, number)
    return peer.engine.permanent(), peer.engine.volatile()


def refusal(permanent: bytes, volatile: bytes, kind: str) -> StateError | None:
    """Why a state can't be used, if it can't."""
    try:
        engine = restored(permanent)
        if kind == "volatile":
            engine.power_on(volatile)
    except StateError as error:
        return error
    return None


@pytest.mark.parametrize("kind", ["permanent", "volatile"])
def test_damage_is_found_or_harmless(furnished: tuple[bytes, bytes], kind: str) -> None:
    """StateError and nothing else, and nothing is changed; or a state that works."""
    permanent, volatile = furnished

    @settings(
        max_examples=400, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(damaged(permanent if kind == "permanent" else volatile))
    def check(state: bytes) -> None:
        error = refusal(state if kind == "permanent" else permanent, state, kind)
        assert error is None or error.kind in ("damaged", "newer")
        assert "000000" not in str(error)

    check()


def test_truncations(furnished: tuple[bytes, bytes]) -> None:
    permanent, volatile = furnished
    engine = restored(permanent)
    engine.power_on()
    before = engine.permanent(), engine.volatile()
    for length in range(0, len(volatile) - 1, 97):
        with pytest.raises(StateError):
            engine.power_on(volatile[:length])
        with pytest.raises(StateError):
            restored(permanent[: length % len(permanent)])
    assert (engine.permanent(), engine.volatile()) == before


def test_a_power_cycle_keeps_what_is_permanent(tester: Tester, engine_peer: EnginePeer) -> None:
    for number in range(6):
        _define(tester, number)
    stored = engine_peer.stored
    assert tester.run(CC.SHUTDOWN, params=SU.CLEAR.to_bytes(2)).rc == 0
    engine_peer.reset()
    kept, before = states.read(engine_peer.stored), states.read(stored)
    assert kept["permanent"]["nv"] == before["permanent"]["nv"]
    assert kept["permanent"]["owner"] == before["permanent"]["owner"]

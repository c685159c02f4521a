"""The message codec: every message survives the trip, and what may not be one is refused."""

import dataclasses
import tracemalloc
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints
from uuid import UUID

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vtpmd.ipc.codec import MAX_TEXT, Codec, MalformedMessageError, UnknownMessageError
from vtpmd.ipc.messages import (
    Event,
    Failed,
    Manufacture,
    Message,
    Ready,
    Spawn,
    Status,
    StatusReply,
    Stop,
)
from vtpmd.ipc.rules import CODEC, RULES
from vtpmd.storage.key import Key
from vtpmd.storage.slot import Slot

_PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    bool: st.booleans(),
    int: st.integers(0, (1 << 63) - 1),
    str: st.text(max_size=8),
    bytes: st.binary(max_size=8),
    bytearray: st.binary(max_size=8).map(bytearray),
    UUID: st.uuids(),
}
_NAMES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=8)
_SLOTS = st.builds(
    Slot,
    _NAMES,
    _NAMES,
    _NAMES,
    _NAMES,
    _NAMES,
    st.binary(min_size=1, max_size=8),
    st.integers(0, 1 << 40),
    st.sampled_from(["primary", "recovery"]),
)


def _values(annotation: Any) -> st.SearchStrategy[Any]:
    if annotation is Slot:
        return _SLOTS
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        return _messages(annotation)
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    arguments = get_args(annotation)
    if get_origin(annotation) is tuple:
        return st.lists(_values(arguments[0]), max_size=3).map(tuple)
    if get_origin(annotation) is dict:
        return st.dictionaries(*map(_values, arguments), max_size=3)
    return st.sampled_from(arguments)


def _messages(cls: type) -> st.SearchStrategy[Any]:
    hints = get_type_hints(cls)
    return st.builds(cls, **{f.name: _values(hints[f.name]) for f in dataclasses.fields(cls)})


def test_every_message_has_a_rule() -> None:
    assert set(get_args(Message)) == set(RULES)


@pytest.mark.parametrize("cls", RULES, ids=lambda cls: cls.__name__)
@settings(max_examples=25)
@given(data=st.data())
def test_every_message_round_trips(cls: type, data: st.DataObject) -> None:
    message = data.draw(_messages(cls))
    assert CODEC.decode(CODEC.encode(message)) == message


KEY = Key(bytearray(32), b"id", ())


def test_encoding_is_one_canonical_map() -> None:
    uuid = UUID(int=7)
    expected = cbor2.dumps({"type": "Spawn", "name": "web1", "uuid": uuid.bytes}, canonical=True)
    assert CODEC.encode(Spawn(uuid, "web1")) == expected


def test_a_decoded_secret_can_be_wiped() -> None:
    key = Key(bytearray(b"\xa5" * 32), b"id", ())
    message = Manufacture(UUID(int=1), "web1", "default-v1", ("sha256",), key)
    decoded = CODEC.decode(CODEC.encode(message))
    assert isinstance(decoded, Manufacture)
    assert type(decoded.key.dek) is bytearray


@pytest.mark.parametrize("cls", RULES, ids=lambda cls: cls.__name__)
def test_no_message_shows_a_secret(cls: type) -> None:
    def filled(annotation: Any) -> Any:
        if annotation is bytearray:
            return bytearray(b"SECRET" * 6)
        if annotation is Slot:
            return Slot("local", "local", "k", "1", "none", b"SECRET", 1)
        if annotation is Key:
            return Key(bytearray(b"SECRET" * 6), b"x", ())
        if dataclasses.is_dataclass(annotation):
            return made(annotation)
        if get_origin(annotation) is tuple:
            return (filled(get_args(annotation)[0]),)
        return _EXAMPLES.get(annotation)

    def made(kind: Any) -> Any:
        hints = get_type_hints(kind)
        return kind(**{each.name: filled(hints[each.name]) for each in dataclasses.fields(kind)})

    message = made(cls)
    assert "SECRET" not in repr(message) + str(message) + f"{message}"


_EXAMPLES: dict[Any, Any] = {int: 1, str: "x", bytes: b"x", bool: True, UUID: UUID(int=1)}


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "not canonical CBOR"),
        (b"\xff", "not canonical CBOR"),
        (b"\xbf\x64type\x66Status\xff", "not canonical CBOR"),
        (b"\xa2\x64type\x66Status\x64type\x66Status", "not canonical CBOR"),
        (CODEC.encode(Status()) + b"\x00", "not (canonical CBOR|a map)"),
        (b"\xb8\x01\x64type\x66Status", "not (canonical CBOR|a map)"),
        (cbor2.dumps(["Status"]), "not (canonical CBOR|a map)"),
        (cbor2.dumps({"type": "Reboot"}), "unknown message type"),
        (cbor2.dumps({"type": 1}), "no message type"),
        (cbor2.dumps({}), "no message type"),
        (cbor2.dumps({"type": "Status", "more": 1}, canonical=True), "Status has no field 'more'"),
        (cbor2.dumps({"type": "Status", 7: 1}, canonical=True), "Status has no field 7"),
        (cbor2.dumps({"type": "Stop"}, canonical=True), "Stop.reason is missing"),
        (cbor2.dumps({"type": "Spawned"}, canonical=True), "Spawned.pid is missing"),
        (cbor2.dumps({"type": "Spawned", "pid": True}, canonical=True), "Spawned.pid: unsigned"),
        (cbor2.dumps({"type": "Spawned", "pid": -1}, canonical=True), "Spawned.pid: unsigned"),
        (cbor2.dumps({"type": "Spawned", "pid": 1 << 63}, canonical=True), "Spawned.pid: unsigned"),
        (
            cbor2.dumps({"type": "Stop", "reason": b"x"}, canonical=True),
            "Stop.reason: str expected",
        ),
        (
            cbor2.dumps({"type": "Spawn", "name": "a", "uuid": b"short"}, canonical=True),
            "Spawn.uuid: UUID of 16 octets",
        ),
        (
            cbor2.dumps({"type": "Stop", "reason": "x" * (MAX_TEXT + 1)}, canonical=True),
            "Stop.reason: text of 8193 characters",
        ),
    ],
)
def test_anything_else_is_refused_with_a_reason(data: bytes, complaint: str) -> None:
    with pytest.raises(MalformedMessageError, match=complaint):
        CODEC.decode(data)


@given(st.binary(max_size=64))
def test_arbitrary_octets_never_do_more_than_raise(data: bytes) -> None:
    try:
        message = CODEC.decode(data)
    except MalformedMessageError:
        return
    assert CODEC.decode(CODEC.encode(message)) == message


def test_a_type_without_encoding_is_noticed_at_import() -> None:
    @dataclass(frozen=True)
    class Odd:
        ratio: float

    with pytest.raises(TypeError, match="no encoding for"):
        Codec((Odd,))


def test_a_report_without_a_word_for_what_is_new_is_noticed_at_import() -> None:
    @dataclass(frozen=True)
    class Mood:
        mood: Literal["good", "bad"]

    Codec(orders=(Mood,))
    with pytest.raises(TypeError, match="no word for what a newer version reports"):
        Codec((), reports=(Mood,))


def changed(message: object, without: str = "", **more: object) -> bytes:
    """The encoding of a message as another version would have it."""
    fields = {**cbor2.loads(CODEC.encode(message)), **more}
    fields.pop(without, None)
    return cbor2.dumps(fields, canonical=True)


STATUS = StatusReply(UUID(int=1), "web1", 3, "on", 1, {"mode": "require"}, 5, 7, "available")


def test_a_report_with_more_or_fewer_fields_is_read() -> None:
    assert CODEC.decode(changed(STATUS, asleep=True, tree={"a": [1, {"b": None}]})) == STATUS
    expected = dataclasses.replace(STATUS, commands=0)
    assert CODEC.decode(changed(STATUS, without="commands")) == expected
    with pytest.raises(MalformedMessageError, match=r"StatusReply\.uuid is missing"):
        CODEC.decode(changed(STATUS, without="uuid"))


def test_words_that_are_new_in_a_report_are_told_as_unknown() -> None:
    found = CODEC.decode(changed(STATUS, tpm="asleep"))
    assert found == dataclasses.replace(STATUS, tpm="unknown")
    assert CODEC.decode(changed(Failed("key", "no"), kind="tired")) == Failed("unknown", "no")
    assert CODEC.decode(changed(Event("shutdown", ""), kind="party")) == Event("party", "")
    with pytest.raises(MalformedMessageError, match=r"StatusReply\.tpm"):
        CODEC.decode(changed(STATUS, tpm=7))


def test_an_option_with_its_default_is_not_sent() -> None:
    order = Manufacture(UUID(int=1), "web1", "default-v1", ("sha256",), KEY)
    assert "sandbox" not in cbor2.loads(CODEC.encode(order))
    chosen = dataclasses.replace(order, sandbox="off")
    assert cbor2.loads(CODEC.encode(chosen))["sandbox"] == "off"
    assert CODEC.decode(CODEC.encode(order)) == order


def test_an_order_is_not_followed_by_halves() -> None:
    with pytest.raises(MalformedMessageError, match="Stop has no field 'gently'"):
        CODEC.decode(changed(Stop("x"), gently=True))
    order = Manufacture(UUID(int=1), "web1", "default-v1", ("sha256",), KEY)
    with pytest.raises(MalformedMessageError, match=r"Manufacture\.sandbox: one of"):
        CODEC.decode(changed(order, sandbox="tighter"))


def test_the_end_of_a_long_report_is_sent_and_what_is_no_text_is_escaped() -> None:
    sent = Failed("defect", "x" * 10 + "y" * MAX_TEXT)
    assert CODEC.decode(CODEC.encode(sent)) == Failed("defect", "y" * MAX_TEXT)
    found = CODEC.decode(CODEC.encode(Failed("storage", "/run/\udcff")))
    assert found == Failed("storage", "/run/\\udcff")


def test_a_type_that_may_be_newer_is_told_by_name() -> None:
    with pytest.raises(UnknownMessageError) as caught:
        CODEC.decode(cbor2.dumps({"type": "Slept", "since": 1}, canonical=True))
    assert caught.value.name == "Slept"


def _shared(levels: int) -> bytes:
    """Shared values (tags 28 and 29): each is a list that holds the one before it eight times."""
    values = [b"\xd8\x1c\x88" + b"\0" * 8]
    for level in range(levels - 1):
        values.append(b"\xd8\x1c\x88" + (b"\xd8\x1d" + cbor2.dumps(level)) * 8)
    return b"\xa2\x64type\x65Event\x66detail\x99" + levels.to_bytes(2) + b"".join(values)


BOMBS = {
    "shared values": _shared(1000),
    "string references": b"\xa1\x64type\xd9\x01\x00\x82\x79\x40\x00"
    + b"x" * 0x4000
    + b"\xd8\x19\x00",
    "a long array that is not there": b"\xa1\x64type\x9a\xff\xff\xff\xff",
    "a long text that is not there": b"\xa1\x64type\x7b" + b"\x7f" * 8,
    "many items": b"\xa1\x64type\x99\xf0\x00" + b"\x80" * 0xF000,
    "depth": b"\xa1\x64type" + b"\x81" * 60000 + b"\x00",
    "a large number": b"\xa1\x64type\xc2\x59\xf0\x00" + b"\xff" * 0xF000,
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS.keys())
def test_nothing_grows_while_it_is_read(bomb: bytes) -> None:
    assert len(bomb) <= 1 << 16
    tracemalloc.start()
    try:
        with pytest.raises(MalformedMessageError):
            CODEC.decode(bomb)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_slot_that_could_not_be_stored_is_refused() -> None:
    slot = {"provider_type": "local", "provider": "local", "key_ref": "k", "key_version": "1"}
    slot |= {"algorithm": "A256GCM", "purpose": "party"}
    fields = {"dek": b"", "dek_id": b"", "slots": [{**slot, "wrapped": b"w", "created": 1}]}
    data = cbor2.dumps({"type": "Rekey", "key": fields}, canonical=True)
    with pytest.raises(MalformedMessageError, match=r"Slot\.purpose|purpose"):
        CODEC.decode(data)


def test_nested_errors_name_the_field() -> None:
    data = cbor2.dumps({"type": "Ready", "generation": 1, "sandbox": {"a": 1}}, canonical=True)
    with pytest.raises(MalformedMessageError, match=r"Ready\.sandbox: str expected, int found"):
        CODEC.decode(data)
    assert CODEC.decode(CODEC.encode(Ready(1, {"a": "b"}))) == Ready(1, {"a": "b"})

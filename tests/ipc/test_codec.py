"""The message codec: every message survives the trip, and nothing but its exact form is read."""

import dataclasses
from dataclasses import dataclass
from typing import Any, get_args, get_origin, get_type_hints
from uuid import UUID

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtpmd.ipc.codec import Codec, MalformedMessageError
from vtpmd.ipc.messages import CODEC, RULES, Manufacture, Ready, Spawn, Status
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


@pytest.mark.parametrize("cls", RULES, ids=lambda cls: cls.__name__)
@given(data=st.data())
def test_every_message_round_trips(cls: type, data: st.DataObject) -> None:
    message = data.draw(_messages(cls))
    assert CODEC.decode(CODEC.encode(message)) == message


def test_encoding_is_one_canonical_map() -> None:
    uuid = UUID(int=7)
    expected = cbor2.dumps({"type": "Spawn", "name": "web1", "uuid": uuid.bytes}, canonical=True)
    assert CODEC.encode(Spawn(uuid, "web1")) == expected


def test_secrets_stay_out_of_repr_and_can_be_wiped() -> None:
    dek = bytearray(b"\xa5" * 32)
    message = Manufacture(UUID(int=1), "web1", "default-v1", ("sha256",), dek, b"id", ())
    decoded = CODEC.decode(CODEC.encode(message))
    assert isinstance(decoded, Manufacture)
    assert type(decoded.dek) is bytearray
    assert "a5" not in repr(message)
    assert "165" not in repr(message)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "not CBOR"),
        (b"\xff", "not CBOR"),
        (b"\xbf\x64type\x66Status\xff", "not CBOR"),
        (b"\xa2\x64type\x66Status\x64type\x66Status", "not CBOR"),
        (CODEC.encode(Status()) + b"\x00", "not one canonical CBOR map"),
        (b"\xb8\x01\x64type\x66Status", "not one canonical CBOR map"),
        (cbor2.dumps(["Status"]), "not one canonical CBOR map"),
        (cbor2.dumps({"type": "Reboot"}), "unknown message type"),
        (cbor2.dumps({"type": 1}), "unknown message type"),
        (cbor2.dumps({}), "unknown message type"),
        (cbor2.dumps({"type": "Status", "more": 1}, canonical=True), "Status has exactly"),
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
            cbor2.dumps({"type": "Event", "kind": "party", "detail": ""}, canonical=True),
            "Event.kind: one of",
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
    assert CODEC.encode(message) == data


def test_a_type_without_encoding_is_noticed_at_import() -> None:
    @dataclass(frozen=True)
    class Odd:
        ratio: float

    with pytest.raises(TypeError, match="no encoding for"):
        Codec((Odd,))


def test_a_slot_that_could_not_be_stored_is_refused() -> None:
    slot = {"provider_type": "local", "provider": "local", "key_ref": "k", "key_version": "1"}
    slot |= {"algorithm": "A256GCM", "purpose": "party"}
    fields = {"dek": b"", "dek_id": b"", "slots": [{**slot, "wrapped": b"w", "created": 1}]}
    data = cbor2.dumps({"type": "Rekey", **fields}, canonical=True)
    with pytest.raises(MalformedMessageError, match=r"Slot\.purpose|purpose"):
        CODEC.decode(data)


def test_nested_errors_name_the_field() -> None:
    data = cbor2.dumps({"type": "Ready", "generation": 1, "sandbox": {"a": 1}}, canonical=True)
    with pytest.raises(MalformedMessageError, match=r"Ready\.sandbox: str expected, int found"):
        CODEC.decode(data)
    assert CODEC.decode(CODEC.encode(Ready(1, {"a": "b"}))) == Ready(1, {"a": "b"})

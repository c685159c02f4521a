"""Sealed state opens whole, with its own key, in its own place, or is refused by name."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast
from uuid import UUID

import cbor2
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from vtpmd.storage.envelope import (
    MAX_SLOTS,
    Envelope,
    Header,
    Kind,
    Sealer,
    parse,
    seal,
)
from vtpmd.storage.errors import EnvelopeError
from vtpmd.storage.header import Handover
from vtpmd.storage.record import MAX_SIZE
from vtpmd.storage.slot import Slot

DEK = bytes(range(32))
DEK_ID = bytes(range(16))
VM = UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
OTHER_VM = UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")
BRANCH = bytes(range(100, 116))
HEADER = Header(VM, 7, "permanent", DEK_ID, BRANCH, 3, "lent")
SLOTS = (
    Slot("local", "host", "kek", "a1b2", "A256GCM", b"\x55" * 60, 1_700_000_000),
    Slot("vault", "dc1", "transit/vtpmd", "3", "transit", b"vault:v3:x", 1, "recovery"),
)
STATE = b"everything a TPM remembers" * 40
SEALED = seal(DEK, HEADER, SLOTS, STATE)
GOLDEN_SHA256 = "5451c1fa4ed7155c8d3e50cce072e51b4f4aff049c20406b7dbbd4efff3c1edf"


def fixed(size: int) -> bytes:
    """Entropy of the golden vector: the salt is 32 times 0x11, the IV 12 times 0x22."""
    assert size == 44
    return b"\x11" * 32 + b"\x22" * 12


def kind_of_refusal(data: bytes, dek: bytes = DEK, uuid: UUID = VM) -> str:
    with pytest.raises(EnvelopeError) as caught:
        parse(data).unseal(dek, uuid)
    return caught.value.kind


def message_of_refusal(data: bytes, dek: bytes = DEK, uuid: UUID = VM) -> str:
    with pytest.raises(EnvelopeError) as caught:
        parse(data).unseal(dek, uuid)
    return str(caught.value)


def independent(
    dek: bytes, header: dict[int, Any], slots: list[dict[int, Any]], plaintext: bytes
) -> bytes:
    """Format version 1, written down once more with nothing but cbor2 and cryptography."""

    def dumps(value: object) -> bytes:
        return cbor2.dumps(value, canonical=True)

    def derive(info: bytes) -> bytes:
        return HKDF(SHA256(), 32, b"\x11" * 32, info).derive(dek)

    nobody = [None, None, None]
    recipient = dumps({1: -10})
    key = derive(dumps([3, nobody, nobody, [256, recipient]]))
    protected = dumps(
        {
            1: 3,
            2: sorted([-70004, *header], reverse=True),
            3: "application/vnd.vtpmd.state",
            -70004: derive(b"vtpmd-commit-v1"),
            **header,
        }
    )
    ciphertext = AESGCM(key).encrypt(b"\x22" * 12, plaintext, dumps(["Encrypt", protected, b""]))

    def message(unprotected: dict[int, Any]) -> bytes:
        recipients = [[recipient, {4: DEK_ID, -20: b"\x11" * 32}, b""]]
        return dumps(cbor2.CBORTag(96, [protected, unprotected, ciphertext, recipients]))

    unprotected = {5: b"\x22" * 12, -70010: slots}
    return message({**unprotected, -70011: hashlib.sha256(message(unprotected)).digest()})


HEADER_FIELDS = {
    -70001: 1,
    -70002: VM.bytes,
    -70003: 7,
    -70005: "permanent",
    -70006: BRANCH,
    -70007: 3,
    -70008: "lent",
}
SLOT_FIELDS = [
    {
        1: "local",
        2: "host",
        3: "kek",
        4: "a1b2",
        5: "A256GCM",
        6: b"\x55" * 60,
        7: 1_700_000_000,
        8: "primary",
    },
    {
        1: "vault",
        2: "dc1",
        3: "transit/vtpmd",
        4: "3",
        5: "transit",
        6: b"vault:v3:x",
        7: 1,
        8: "recovery",
    },
]


def rewritten(change: Callable[[list[Any]], None], data: bytes = SEALED) -> bytes:
    """`data` after `change` by someone who has no key but knows how to make a checksum."""
    protected, unprotected, ciphertext, recipients = cbor2.loads(data).value
    [[form, key_fields, encrypted_key]] = recipients
    unprotected = {key: value for key, value in unprotected.items() if key != -70011}
    parts = [protected, unprotected, ciphertext, [[form, dict(key_fields), encrypted_key]]]
    change(parts)
    unprotected[-70011] = hashlib.sha256(
        cbor2.dumps(cbor2.CBORTag(96, parts), canonical=True)
    ).digest()
    return cbor2.dumps(cbor2.CBORTag(96, parts), canonical=True)


def with_header(**changes: Any) -> Callable[[list[Any]], None]:
    labels = {"version": -70001, "uuid": -70002, "generation": -70003, "commitment": -70004}

    def change(parts: list[Any]) -> None:
        fields = cbor2.loads(parts[0])
        fields.update({labels[name]: value for name, value in changes.items()})
        parts[0] = cbor2.dumps(fields, canonical=True)

    return change


def test_golden_vector_is_recomputed_independently() -> None:
    sealed = seal(DEK, HEADER, SLOTS, STATE, entropy=fixed)
    assert sealed == independent(DEK, HEADER_FIELDS, SLOT_FIELDS, STATE)
    # Frozen from 0.2.0 on: files written by one release are read by all later ones.
    assert hashlib.sha256(sealed).hexdigest() == GOLDEN_SHA256


@given(
    plaintext=st.binary(max_size=2000),
    generation=st.integers(0, 2**64 - 1),
    kind=st.sampled_from(["permanent", "volatile", "migration"]),
    branch=st.binary(min_size=16, max_size=16),
    epoch=st.integers(0, 2**64 - 1),
    handover=st.sampled_from(["ours", "lent", "away"]),
)
def test_what_was_sealed_is_unsealed(
    plaintext: bytes, generation: int, kind: Kind, branch: bytes, epoch: int, handover: Handover
) -> None:
    header = Header(VM, generation, kind, DEK_ID, branch, epoch, handover)
    envelope = parse(seal(bytearray(DEK), header, SLOTS, bytearray(plaintext)))
    assert (envelope.header, envelope.slots) == (header, SLOTS)
    unsealed = envelope.unseal(bytearray(DEK), VM, kind)
    assert isinstance(unsealed, bytearray)
    assert unsealed == plaintext


def test_every_write_draws_its_own_salt_and_iv() -> None:
    one, two = (cbor2.loads(seal(DEK, HEADER, SLOTS, STATE)).value for _ in range(2))
    assert one[3][0][1][-20] != two[3][0][1][-20]
    assert one[1][5] != two[1][5]
    assert one[2] != two[2]


@pytest.mark.parametrize("generation", [0, 23, 24, 255, 256, 2**32, 2**64 - 1])
def test_one_sealer_seals_as_many_do(generation: int) -> None:
    sealer = Sealer(DEK, HEADER, SLOTS)
    header = replace(HEADER, generation=generation)
    for state in (b"", STATE, STATE * 80):
        sealed = sealer.seal(generation, state, entropy=fixed)
        assert sealed == seal(DEK, header, SLOTS, state, entropy=fixed)
        assert parse(sealed).header == header
        assert parse(sealed).unseal(DEK, VM) == state
    salts = {parse(sealer.seal(generation, STATE))._salt for _ in range(4)}
    assert len(salts) == 4


def test_any_flipped_bit_is_noticed_without_a_key() -> None:
    sealed = seal(DEK, HEADER, SLOTS, b"short")
    for position in range(len(sealed) * 8):
        damaged = bytearray(sealed)
        damaged[position // 8] ^= 1 << position % 8
        with pytest.raises(EnvelopeError) as caught:
            parse(bytes(damaged))
        assert caught.value.kind in {"damaged", "truncated", "newer"}


@given(st.integers(0, len(SEALED) * 8 - 1))
def test_any_flipped_bit_is_refused(position: int) -> None:
    damaged = bytearray(SEALED)
    damaged[position // 8] ^= 1 << position % 8
    assert kind_of_refusal(bytes(damaged)) in {"damaged", "truncated", "newer"}


def test_file_truncated_anywhere_is_refused_as_such() -> None:
    for size in range(len(SEALED)):
        assert kind_of_refusal(SEALED[:size]) == "truncated"
    assert "after 100 octets" in message_of_refusal(SEALED[:100])


@given(st.binary(min_size=1, max_size=64))
def test_trailing_octets_are_refused_as_such(surplus: bytes) -> None:
    assert kind_of_refusal(SEALED + surplus) == "damaged"
    assert f"{len(surplus)} octets follow behind its end" in message_of_refusal(SEALED + surplus)


@given(st.binary(max_size=300) | st.binary(max_size=300).map(lambda tail: b"\xd8\x60\x84" + tail))
def test_arbitrary_bytes_are_refused(data: bytes) -> None:
    assert kind_of_refusal(data) in {"damaged", "truncated"}


json_like = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=40),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.integers() | st.text(max_size=3), inner, max_size=4)
        | st.builds(cbor2.CBORTag, st.sampled_from([0, 1, 2, 4, 5, 30, 35, 36, 96, 258]), inner)
    ),
    max_leaves=12,
)


@given(path=st.sampled_from(["top", 0, 1, 2, 3, "slot", "field", "recipient"]), value=json_like)
def test_any_value_in_any_place_is_refused(path: str | int, value: Any) -> None:
    parts = list(cbor2.loads(SEALED).value)
    match path:
        case "top":
            data = cbor2.dumps(value, canonical=True)
        case "slot":
            parts[1] = {**parts[1], -70010: [value]}
            data = cbor2.dumps(cbor2.CBORTag(96, parts), canonical=True)
        case "field":
            parts[1] = {**parts[1], -70010: [{**SLOT_FIELDS[0], 6: value}]}
            data = cbor2.dumps(cbor2.CBORTag(96, parts), canonical=True)
        case "recipient":
            parts[3] = [[parts[3][0][0], value, b""]]
            data = cbor2.dumps(cbor2.CBORTag(96, parts), canonical=True)
        case int(index):
            parts[index] = value
            data = cbor2.dumps(cbor2.CBORTag(96, parts), canonical=True)
    with pytest.raises(EnvelopeError):
        parse(data)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\xd8\x60\x9f\x40\xff", id="indefinite length"),
        pytest.param(b"\xd8\x60\x9b" + b"\xff" * 8, id="array of 2^64 items"),
        pytest.param(b"\xd8\x60\x84\x5b" + b"\xff" * 8, id="byte string of 2^64 bytes"),
        pytest.param(b"\x81" * 100_000, id="nested deeply"),
        pytest.param(b"\xd8\x1d\x00", id="reference to nothing"),
        pytest.param(SEALED.replace(b"\xd8\x60", b"\xd9\x00\x60", 1), id="longer form of the tag"),
        pytest.param(SEALED.replace(b"\x01\x65local", b"\x02\x65local", 1), id="duplicate key"),
        pytest.param(bytes(MAX_SIZE + 1), id="too large"),
    ],
)
def test_hostile_encodings_are_refused(data: bytes) -> None:
    assert kind_of_refusal(data) in {"damaged", "truncated"}


def test_file_of_another_instance_is_refused_as_such() -> None:
    assert kind_of_refusal(SEALED, uuid=OTHER_VM) == "wrong-instance"
    message = message_of_refusal(SEALED, uuid=OTHER_VM)
    assert str(VM) in message
    assert str(OTHER_VM) in message


def test_instance_is_checked_before_the_key() -> None:
    assert kind_of_refusal(SEALED, dek=bytes(32), uuid=OTHER_VM) == "wrong-instance"


def test_wrong_key_is_told_from_damage() -> None:
    assert kind_of_refusal(SEALED, dek=bytes(32)) == "wrong-key"
    assert DEK_ID.hex() in message_of_refusal(SEALED, dek=bytes(32))


def test_newer_version_is_named_before_anything_else() -> None:
    newer = rewritten(with_header(version=2))
    assert kind_of_refusal(newer, uuid=OTHER_VM, dek=bytes(32)) == "newer"
    assert "format version 2" in message_of_refusal(newer)


def test_newer_version_of_another_shape_is_newer_too() -> None:
    protected = cbor2.dumps({-70001: 9, "other": True}, canonical=True)
    message = cbor2.CBORTag(96, [protected, {"more": 1}, b"", []])
    assert kind_of_refusal(cbor2.dumps(message, canonical=True)) == "newer"


def test_newer_version_is_named_whatever_follows_its_header() -> None:
    protected = cbor2.dumps(cbor2.dumps({-70001: 2, -80000: [None]}, canonical=True))
    for rest in (b"", b"\xff", b"\xfb" + bytes(8), SEALED):
        assert kind_of_refusal(b"\xd8\x60\x84" + protected + rest) == "newer"


def header_fields(change: Callable[[dict[int, Any]], object]) -> bytes:
    """SEALED with a header that says it was made like that."""

    def edit(parts: list[Any]) -> None:
        fields = cbor2.loads(parts[0])
        change(fields)
        fields[2] = [label for label in sorted(fields, reverse=True) if label < -70000]
        parts[0] = cbor2.dumps(fields, canonical=True)

    return rewritten(edit)


def test_missing_header_field_has_its_default() -> None:
    fields = {label: value for label, value in HEADER_FIELDS.items() if label > -70006}
    envelope = parse(independent(DEK, fields, SLOT_FIELDS, STATE))
    assert envelope.header == Header(VM, 7, "permanent", DEK_ID, bytes(16), 0, "ours")
    assert envelope.unseal(DEK, VM) == STATE
    assert parse(envelope.replace_slots(SLOTS[:1])).unseal(DEK, VM) == STATE


@pytest.mark.parametrize("label", [-70002, -70003, -70004, -70005])
def test_missing_header_field_without_a_default_is_damage(label: int) -> None:
    assert kind_of_refusal(header_fields(lambda fields: fields.pop(label))) == "damaged"


@pytest.mark.parametrize("label", [0, 4, 15, -1, -70009, -70011, "x"])
def test_unknown_header_field_is_refused(label: Any) -> None:
    data = rewritten(lambda parts: parts.__setitem__(0, with_field(parts[0], label, 0)))
    assert kind_of_refusal(data) == "damaged"


def with_field(protected: bytes, label: Any, value: object) -> bytes:
    return cbor2.dumps({**cbor2.loads(protected), label: value}, canonical=True)


@pytest.mark.parametrize(
    ("label", "value"),
    [
        (1, 1), (1, 35), (2, []), (2, [-70001]), (3, "text/plain"), (-70006, b""),
        (-70006, bytes(17)), (-70007, -1), (-70007, True), (-70007, "0"), (-70008, "mine"),
        (-70008, 0), (-70005, "other"), (-70003, None), (-70002, bytes(15)),
    ],
)  # fmt: skip
def test_header_field_of_another_kind_is_refused_without_a_key(label: int, value: object) -> None:
    data = rewritten(lambda parts: parts.__setitem__(0, with_field(parts[0], label, value)))
    with pytest.raises(EnvelopeError) as caught:
        parse(data)
    assert caught.value.kind == "damaged"


@pytest.mark.parametrize(
    ("branch", "epoch", "generation", "age"),
    [
        (BRANCH, 3, 7, "same"),
        (BRANCH, 3, 8, "newer"),
        (BRANCH, 3, 6, "older"),
        (BRANCH, 4, 0, "newer"),
        (BRANCH, 2, 99, "older"),
        (bytes(16), 99, 99, "other"),
        (bytes(16), 0, 0, "other"),
    ],
)
def test_age_of_one_state_beside_another(
    branch: bytes, epoch: int, generation: int, age: str
) -> None:
    header = replace(HEADER, branch=branch, epoch=epoch, generation=generation)
    assert header.age(HEADER) == age
    opposite = {"newer": "older", "older": "newer"}
    assert HEADER.age(header) == opposite.get(age, age)
    assert replace(header, uuid=OTHER_VM).age(HEADER) == "other"


@pytest.mark.parametrize("version", [0, -1, True, 1.5, "2", None])
def test_version_that_is_no_version_is_damage(version: object) -> None:
    assert kind_of_refusal(rewritten(with_header(version=version))) == "damaged"


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        pytest.param(with_header(generation=8), "damaged", id="generation"),
        pytest.param(with_header(uuid=OTHER_VM.bytes), "wrong-instance", id="uuid"),
        pytest.param(with_header(commitment=bytes(32)), "wrong-key", id="commitment"),
    ],
)
def test_header_edited_without_the_key_is_refused(
    change: Callable[[list[Any]], None], kind: str
) -> None:
    assert kind_of_refusal(rewritten(change)) == kind


def test_file_relabelled_for_another_instance_does_not_open_there() -> None:
    relabelled = rewritten(with_header(uuid=OTHER_VM.bytes))
    assert kind_of_refusal(relabelled, uuid=OTHER_VM) == "damaged"


def test_edited_content_is_refused() -> None:
    def flip_last(parts: list[Any]) -> None:
        parts[2] = parts[2][:-1] + bytes([parts[2][-1] ^ 1])

    def other_iv(parts: list[Any]) -> None:
        parts[1][5] = bytes(12)

    def other_salt(parts: list[Any]) -> None:
        parts[3][0][1][-20] = bytes(32)

    assert kind_of_refusal(rewritten(flip_last)) == "damaged"
    assert kind_of_refusal(rewritten(other_iv)) == "damaged"
    assert kind_of_refusal(rewritten(other_salt)) == "wrong-key"


def test_content_of_one_write_under_the_header_of_another_is_refused() -> None:
    def take_header(parts: list[Any]) -> None:
        parts[0] = cbor2.loads(seal(DEK, replace(HEADER, generation=8), SLOTS, STATE)).value[0]

    assert kind_of_refusal(rewritten(take_header)) == "wrong-key"


def test_volatile_state_is_not_taken_for_permanent_state() -> None:
    volatile = seal(DEK, replace(HEADER, kind="volatile"), SLOTS, STATE)
    message = message_of_refusal(volatile)
    assert "volatile state where permanent state belongs" in message
    assert kind_of_refusal(volatile) == "damaged"


def test_slots_are_replaced_without_the_key() -> None:
    other = Slot("kmip", "site", "42", "", "A256GCM", b"w" * 40, 1_800_000_000)
    envelope = parse(parse(SEALED).replace_slots([other]))
    assert envelope.slots == (other,)
    assert envelope.header == HEADER
    assert envelope.unseal(DEK, VM) == STATE


@pytest.mark.parametrize("count", [0, MAX_SLOTS + 1])
def test_number_of_slots_is_limited(count: int) -> None:
    with pytest.raises(ValueError, match="slots"):
        parse(SEALED).replace_slots(SLOTS[:1] * count)


@pytest.mark.parametrize(
    ("dek", "header", "state"),
    [
        pytest.param(bytes(16), HEADER, STATE, id="short DEK"),
        pytest.param(DEK, replace(HEADER, dek_id=b""), STATE, id="no DEK id"),
        pytest.param(DEK, replace(HEADER, generation=-1), STATE, id="negative generation"),
        pytest.param(DEK, replace(HEADER, generation=2**64), STATE, id="large generation"),
        pytest.param(DEK, HEADER, bytes(MAX_SIZE), id="large state"),
        pytest.param(DEK, replace(HEADER, branch=b""), STATE, id="no branch"),
        pytest.param(DEK, replace(HEADER, epoch=-1), STATE, id="negative epoch"),
        pytest.param(DEK, replace(HEADER, epoch=2**64), STATE, id="large epoch"),
        pytest.param(
            DEK, replace(HEADER, handover=cast(Any, "gone")), STATE, id="state of hand-over"
        ),
    ],
)
def test_nothing_is_sealed_that_could_not_be_read(dek: bytes, header: Header, state: bytes) -> None:
    with pytest.raises(ValueError):
        seal(dek, header, SLOTS, state)


def test_no_secret_shows() -> None:
    envelope: Envelope = parse(SEALED)
    shown = repr(envelope) + str(SLOTS)
    for secret in (DEK, SLOTS[0].wrapped, STATE[:16]):
        assert repr(secret)[2:-1] not in shown
        assert secret.hex() not in shown

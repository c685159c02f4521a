"""TTLV: round trips, PyKMIP as judge, and no bytes that do harm."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kms.kmip.oracle import TAG, Oracle
from vtpmd.kms.kmip.ttlv import (
    MAX_DEPTH,
    Item,
    TtlvError,
    Type,
    Value,
    boolean,
    decode,
    encode,
    enumeration,
    integer,
    octets,
    structure,
    text,
)

VALUES: dict[Type, st.SearchStrategy[Value]] = {
    Type.INTEGER: st.integers(-(2**31), 2**31 - 1),
    Type.LONG_INTEGER: st.integers(-(2**63), 2**63 - 1),
    Type.BIG_INTEGER: st.integers(-(2**200), 2**200),
    Type.BOOLEAN: st.booleans(),
    Type.TEXT_STRING: st.text(st.characters(exclude_categories=["Cs"])),
    Type.BYTE_STRING: st.binary(max_size=40),
    Type.DATE_TIME: st.integers(-(2**63), 2**63 - 1),
    Type.INTERVAL: st.integers(0, 2**32 - 1),
}


@st.composite
def simple_items(draw: st.DrawFn) -> Item:
    kind = draw(st.sampled_from([*VALUES, Type.ENUMERATION]))
    value = draw(VALUES[Type.INTERVAL if kind == Type.ENUMERATION else kind])
    return Item(draw(st.integers(0, 0xFFFFFF)), kind, value)


def structures(items: st.SearchStrategy[Item]) -> st.SearchStrategy[Item]:
    fields = st.lists(items, max_size=5).map(tuple)
    return st.builds(Item, st.integers(0, 0xFFFFFF), st.just(Type.STRUCTURE), fields)


ITEMS = st.recursive(simple_items(), structures, max_leaves=20)


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    with Oracle() as oracle:
        yield oracle


def test_bytes_are_those_of_the_standard() -> None:
    # The examples of KMIP 1.4, 9.1.2.
    for item, expected in (
        (integer(0x420020, 8), "420020 02 00000004 00000008 00000000"),
        (Item(0x420020, Type.LONG_INTEGER, 123456789000000000),
         "420020 03 00000008 01B69B4BA5749200"),
        (Item(0x420020, Type.BIG_INTEGER, 1234567890000000000000000000),
         "420020 04 00000010 0000000003FD35EB6BC2DF4618080000"),
        (enumeration(0x420020, 255), "420020 05 00000004 000000FF 00000000"),
        (boolean(0x420020, True), "420020 06 00000008 0000000000000001"),
        (text(0x420020, "Hello World"), "420020 07 0000000B 48656C6C6F20576F726C64 0000000000"),
        (octets(0x420020, b"\1\2\3"), "420020 08 00000003 010203 0000000000"),
        (Item(0x420020, Type.DATE_TIME, 0x47DA67F8), "420020 09 00000008 0000000047DA67F8"),
        (Item(0x420020, Type.INTERVAL, 864000), "420020 0A 00000004 000D2F00 00000000"),
        (structure(0x420020, enumeration(0x420004, 254), integer(0x420005, 255)),
         "420020 01 00000020 420004 05 00000004 000000FE 00000000"
         "420005 02 00000004 000000FF 00000000"),
    ):  # fmt: skip
        assert encode(item) == bytes.fromhex(expected)
        assert decode(bytes.fromhex(expected)) == item


@given(ITEMS)
def test_what_was_encoded_is_decoded(item: Item) -> None:
    assert decode(encode(item)) == item


@settings(deadline=None)
@given(st.data(), st.sampled_from(sorted(VALUES)))
def test_another_codec_agrees(oracle: Oracle, data: st.DataObject, kind: Type) -> None:
    ascii_only = st.text(st.characters(codec="ascii"))  # PyKMIP cannot write any other text
    value = data.draw(ascii_only if kind == Type.TEXT_STRING else VALUES[kind])
    plain = value.hex() if isinstance(value, bytes) else value
    encoded = encode(Item(TAG, kind, value))
    assert oracle.encode(kind.name, plain) == encoded
    assert oracle.decode(kind.name, encoded) == plain


@settings(max_examples=500)
@given(st.binary(max_size=200))
def test_any_bytes_are_an_item_or_refused(data: bytes) -> None:
    try:
        item = decode(data)
    except TtlvError:
        return
    assert decode(encode(item)) == item


@settings(max_examples=500)
@given(ITEMS, st.data())
def test_changed_bytes_are_an_item_or_refused(item: Item, data: st.DataObject) -> None:
    changed = encode(item)
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(changed)))
    for attempt in (changed, changed[:cut], changed + bytes(8)):
        try:
            found = decode(attempt)
        except TtlvError:
            continue
        assert decode(encode(found)) == found


@given(ITEMS, st.data())
def test_what_is_cut_off_is_refused(item: Item, data: st.DataObject) -> None:
    encoded = encode(item)
    with pytest.raises(TtlvError):
        decode(encoded[: data.draw(st.integers(0, len(encoded) - 1))])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("", "0 octets are left where an item has to begin"),
        ("42002002 00000004 00000008", "is cut off: its length is 4"),
        ("42002002 FFFFFFFF 00000008 00000000", "is cut off: its length is 4294967295"),
        ("42002002 00000004 00000008 00000001", "padded with something else than zeros"),
        ("42002002 00000008 0000000800000000", "has 8 octets, too many or too few"),
        ("42002006 00000008 0000000000000002", "is neither true nor false"),
        ("42002004 00000004 00000001 00000000", "has 4 octets: no multiple of eight"),
        ("42002004 00000000", "has 0 octets: no multiple of eight"),
        ("42002007 00000001 FF00000000000000", "is no text in UTF-8"),
        ("42002000 00000000", "has an unknown type 0"),
        ("4200200B 00000008 0000000000000000", "has an unknown type 11"),
        ("42002001 00000004 00000000 00000000", "4 octets are left"),
        ("42002001 00000008 42002002 00000004", "is cut off"),
        ("42002001 00000000 42002001 00000000", "8 octets follow the last item"),
    ],
)
def test_malformed_bytes_are_refused_with_the_reason(data: str, reason: str) -> None:
    with pytest.raises(TtlvError, match=reason):
        decode(bytes.fromhex(data))


def test_nesting_has_a_limit() -> None:
    item = structure(TAG)
    for _ in range(MAX_DEPTH):
        item = structure(TAG, item)
    assert decode(encode(item)) == item
    with pytest.raises(TtlvError, match="nested more than 32 deep"):
        decode(encode(structure(TAG, item)))
    deep = b"".join(bytes.fromhex("42000101") + size.to_bytes(4) for size in range(80000, -1, -8))
    with pytest.raises(TtlvError, match="nested more than 32 deep"):
        decode(deep)


@pytest.mark.parametrize(
    "item",
    [
        integer(TAG, 2**31),
        enumeration(TAG, -1),
        text(TAG, "\ud800"),
        Item(TAG, Type.DATE_TIME, 2**63),
    ],
)
def test_values_that_do_not_fit_are_not_encoded(item: Item) -> None:
    with pytest.raises(TtlvError, match="cannot be encoded"):
        encode(item)


def test_fields_are_what_they_have_to_be() -> None:
    item = structure(1, text(2, "a"), integer(3, 5), integer(4, 1), integer(4, 2), structure(5))
    assert (item.text(2), item.number(3, Type.INTEGER), item.find(9)) == ("a", 5, None)
    assert item.structure(5).fields == ()
    for read, reason in (
        (lambda: item.text(9), "item 000009 is missing in 000001"),
        (lambda: item.text(3), "item 000003 is of type INTEGER, not TEXT_STRING"),
        (lambda: item.octets(2), "item 000002 is of type TEXT_STRING, not BYTE_STRING"),
        (lambda: item.number(3, Type.ENUMERATION), "of type INTEGER, not ENUMERATION"),
        (lambda: item.number(4, Type.INTEGER), "item 000004 appears 2 times in 000001"),
        (lambda: item.structure(3), "of type INTEGER, not STRUCTURE"),
        (lambda: item.all(2)[0].fields, "item 000002 is no structure"),
    ):
        with pytest.raises(TtlvError, match=reason):
            read()


def test_no_value_shows() -> None:
    assert "secret" not in repr(structure(1, octets(2, b"secret"), text(3, "secret")))

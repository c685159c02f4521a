"""TTLV, the encoding of KMIP: tag, type, length, value (KMIP 1.4, 9.1).

Three octets of tag, one of type, four of length, then the value, padded with zeros to a multiple of
eight. Decoding is strict: what `encode` would not write is refused, but for integers of any
length, which may have more leading octets than they need.
"""

import struct
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TypeAlias

from ..errors import KmsError

MAX_DEPTH = 32

_HEADER = struct.Struct(">II")
_ALIGNMENT = 8


class TtlvError(KmsError):
    """Octets are not what they have to be; the message says which item is wrong and how."""


class Type(IntEnum):
    """Item types (9.1.1.2)."""

    STRUCTURE = 0x01
    INTEGER = 0x02
    LONG_INTEGER = 0x03
    BIG_INTEGER = 0x04
    ENUMERATION = 0x05
    BOOLEAN = 0x06
    TEXT_STRING = 0x07
    BYTE_STRING = 0x08
    DATE_TIME = 0x09
    INTERVAL = 0x0A


_NUMBERS = {
    Type.INTEGER: struct.Struct(">i"),
    Type.LONG_INTEGER: struct.Struct(">q"),
    Type.ENUMERATION: struct.Struct(">I"),
    Type.BOOLEAN: struct.Struct(">Q"),
    Type.DATE_TIME: struct.Struct(">q"),
    Type.INTERVAL: struct.Struct(">I"),
}

Value: TypeAlias = "int | str | bytes | bytearray | tuple[Item, ...]"


@dataclass(frozen=True)
class Item:
    """One item. `value`: a tuple of items, `str`, bytes, or for all other types an `int`.

    Byte strings are decoded to bytearrays, so that secrets among them can be wiped. The readers of
    a structure's fields raise TtlvError if the field is missing, there twice, or of another type.
    """

    tag: int
    type: Type
    value: Value = field(repr=False)

    @property
    def fields(self) -> tuple["Item", ...]:
        """The items of a structure."""
        if not isinstance(self.value, tuple):
            raise TtlvError(f"item {self.tag:06x} is no structure")
        return self.value

    def all(self, tag: int) -> list["Item"]:
        """The fields with this tag."""
        return [item for item in self.fields if item.tag == tag]

    def find(self, tag: int) -> "Item | None":
        """The field with this tag, if there is one."""
        found = self.all(tag)
        if len(found) > 1:
            raise TtlvError(f"item {tag:06x} appears {len(found)} times in {self.tag:06x}")
        return found[0] if found else None

    def structure(self, tag: int) -> "Item":
        """The structure with this tag."""
        return self.field(tag).typed(Type.STRUCTURE)

    def text(self, tag: int) -> str:
        """The text string with this tag."""
        return str(self.field(tag).typed(Type.TEXT_STRING).value)

    def octets(self, tag: int) -> bytearray:
        """The byte string with this tag."""
        value = self.field(tag).typed(Type.BYTE_STRING).value
        assert isinstance(value, bytearray)
        return value

    def number(self, tag: int, kind: Type) -> int:
        """The number of type `kind` with this tag."""
        value = self.field(tag).typed(kind).value
        assert isinstance(value, int)
        return value

    def typed(self, kind: Type) -> "Item":
        """This item, if it is of type `kind`."""
        if self.type != kind:
            raise TtlvError(f"item {self.tag:06x} is of type {self.type.name}, not {kind.name}")
        return self

    def field(self, tag: int) -> "Item":
        """The field with this tag."""
        found = self.find(tag)
        if found is None:
            raise TtlvError(f"item {tag:06x} is missing in {self.tag:06x}")
        return found


def structure(tag: int, *items: Item) -> Item:
    """An item of items."""
    return Item(tag, Type.STRUCTURE, items)


def integer(tag: int, value: int) -> Item:
    """An item with a signed 32-bit number."""
    return Item(tag, Type.INTEGER, value)


def enumeration(tag: int, value: int) -> Item:
    """An item with one of the values of a table."""
    return Item(tag, Type.ENUMERATION, value)


def boolean(tag: int, value: bool) -> Item:
    """An item that is true or false."""
    return Item(tag, Type.BOOLEAN, value)


def text(tag: int, value: str) -> Item:
    """An item with text."""
    return Item(tag, Type.TEXT_STRING, value)


def octets(tag: int, value: bytes | bytearray) -> Item:
    """An item with octets."""
    return Item(tag, Type.BYTE_STRING, value)


def encode(item: Item) -> bytearray:
    """The octets of an item, which the caller wipes if there are secrets among them.

    Raises TtlvError for values that do not fit their type.
    """
    out = bytearray()
    try:
        _write(item, out)
    except (struct.error, UnicodeEncodeError, TypeError) as error:
        raise TtlvError(f"an item cannot be encoded: {error}") from None
    return out


def _write(item: Item, out: bytearray) -> None:
    start = len(out)
    out += bytes(_HEADER.size)
    match item.value:
        case tuple(items):
            for each in items:
                _write(each, out)
        case str(value):
            out += value.encode()
        case bytes(value) | bytearray(value):
            out += value
        case int(value) if item.type == Type.BIG_INTEGER:
            size = value.bit_length() // 8 + 1  # room for the sign
            out += value.to_bytes(size + -size % _ALIGNMENT, "big", signed=True)
        case value:
            out += _NUMBERS[item.type].pack(value)
    length = len(out) - start - _HEADER.size
    _HEADER.pack_into(out, start, item.tag << 8 | item.type, length)
    out += bytes(-length % _ALIGNMENT)


def decode(data: bytes | bytearray) -> Item:
    """Read exactly one item; raises TtlvError for anything else, whatever the octets are."""
    with memoryview(data) as view:
        item, end = _read(view, 0, len(view), 0)
    if end != len(data):
        raise TtlvError(f"{len(data) - end} octets follow the last item")
    return item


def _read(view: memoryview, start: int, end: int, depth: int) -> tuple[Item, int]:
    """The item at `start` and where the next one begins, which is at most at `end`."""
    if depth > MAX_DEPTH:
        raise TtlvError(f"items are nested more than {MAX_DEPTH} deep")
    if end - start < _HEADER.size:
        raise TtlvError(f"{end - start} octets are left where an item has to begin")
    word, length = _HEADER.unpack_from(view, start)
    tag = word >> 8
    try:
        kind = Type(word & 0xFF)
    except ValueError:
        raise TtlvError(f"item {tag:06x} has an unknown type {word & 0xFF}") from None
    first = start + _HEADER.size
    last, following = first + length, first + length + -length % _ALIGNMENT
    if following > end:
        raise TtlvError(f"item {tag:06x} is cut off: its length is {length}")
    if any(view[last:following]):
        raise TtlvError(f"item {tag:06x} is padded with something else than zeros")
    if kind == Type.STRUCTURE:
        items = []
        while first < last:
            item, first = _read(view, first, last, depth + 1)
            items.append(item)
        return Item(tag, kind, tuple(items)), following
    return Item(tag, kind, _value(tag, kind, view[first:last])), following


def _value(tag: int, kind: Type, view: memoryview) -> Value:
    if kind == Type.BYTE_STRING:
        return bytearray(view)
    if kind == Type.TEXT_STRING:
        try:
            return str(view, "utf-8")
        except UnicodeDecodeError:
            raise TtlvError(f"item {tag:06x} is no text in UTF-8") from None
    if kind == Type.BIG_INTEGER:
        if not view or len(view) % _ALIGNMENT:
            raise TtlvError(f"item {tag:06x} has {len(view)} octets: no multiple of eight")
        return int.from_bytes(view, "big", signed=True)
    if len(view) != _NUMBERS[kind].size:
        raise TtlvError(f"item {tag:06x} has {len(view)} octets, too many or too few for its type")
    (number,) = _NUMBERS[kind].unpack(view)
    if kind == Type.BOOLEAN and number > 1:
        raise TtlvError(f"item {tag:06x} is neither true nor false")
    return int(number)

"""Deterministic CBOR (RFC 8949) for everything stored or sent: one value, one encoding.

`encode` and `decode` move whole values; the functions behind them take a decoded value apart and
accept exactly the type and size that is asked for.

What is decoded may come from an attacker, and general decoders can be made to build far more than
they are given: shared values and string references (tags 25, 28, 29, 256) expand exponentially. So
the decoder here knows only the types that are written: integers of 64 bits and a sign, byte and
text strings, arrays, maps with integer or text keys, true, false and null, and those tags that the
caller names. One pass checks every length against what is left of the input before it is used;
nothing is built that the input does not hold octet by octet.

Deterministic means: shortest heads, definite lengths, map keys without repetition in length-first
order (RFC 8949, 4.2.3), the order in which cbor2 writes them.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import cbor2
from cbor2 import CBORTag

MAX_SIZE = 4 << 20
"""The most octets that `decode` accepts unless it is told otherwise."""
MAX_DEPTH = 8
"""How many arrays, maps and tags may lie inside each other, the outermost included."""
MAX_ITEMS = 1 << 16
"""The most data items in one value: keys, tags and containers count as items, too."""

_UINT64 = 1 << 64
_SIMPLE = {0xF4: False, 0xF5: True, 0xF6: None}  # each one octet
_ARGUMENT_SIZES = {24: 1, 25: 2, 26: 4, 27: 8}  # by the additional information of the head
_NEGATIVE, _OCTETS, _TEXT, _ARRAY, _MAP = (
    1 << 5,
    2 << 5,
    3 << 5,
    4 << 5,
    5 << 5,
)  # heads of empty ones
_DIRECT = 24  # an argument below it is the additional information itself
_DIRECT_HEADS = tuple(bytes((octet,)) for octet in range(256))


class CborError(Exception):
    """The octets are not exactly one deterministically encoded value of the expected shape.

    `kind` says what is wrong: they end too early, or anything else.
    """

    def __init__(self, kind: Literal["truncated", "malformed"], reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


def encode(value: object) -> bytes:
    """Encode `value` deterministically: shortest forms, definite lengths, sorted map keys."""
    return cbor2.dumps(value, canonical=True)


def encode_integer(value: int) -> bytes:
    """What `encode` gives, in less time, of an integer."""
    return head(0, value) if value >= 0 else head(_NEGATIVE, -1 - value)


def encode_octets(value: bytes) -> bytes:
    """What `encode` gives, in less time, of a byte string."""
    size = len(value)
    if size < 1 << 8:
        return OCTETS_HEADS[size] + value
    return head(_OCTETS, size) + value


def encode_text(value: str) -> bytes:
    """What `encode` gives, in less time, of a text string."""
    octets = value.encode()
    return head(_TEXT, len(octets)) + octets


def array_of(*items: bytes) -> bytes:
    """The array of items that are encoded already."""
    return b"".join((array_head(len(items)), *items))


def array_head(count: int) -> bytes:
    """What is in front of so many encoded items of an array."""
    return head(_ARRAY, count)


def map_of(*entries: bytes) -> bytes:
    """The map of entries, each an encoded key and value, in the order of the keys."""
    return b"".join((head(_MAP, len(entries)), *entries))


def head(major: int, argument: int) -> bytes:
    """The head of an item: its major type in the upper three bits of an octet, and its argument."""
    if argument < _DIRECT:
        return _DIRECT_HEADS[major + argument]
    if argument < 1 << 8:
        return ((major | 24) << 8 | argument).to_bytes(2)
    if argument < 1 << 16:
        return ((major | 25) << 16 | argument).to_bytes(3)
    if argument < 1 << 32:
        return ((major | 26) << 32 | argument).to_bytes(5)
    return ((major | 27) << 64 | argument).to_bytes(9)


def decode(
    data: bytes,
    *,
    tags: Collection[int] = (),
    max_size: int = MAX_SIZE,
    max_depth: int = MAX_DEPTH,
    max_items: int = MAX_ITEMS,
) -> object:
    """Decode exactly one value whose deterministic encoding is `data`.

    Gives int, bytes, str, list, dict, bool, None, and CBORTag for the tag numbers in `tags`.
    Raises CborError for everything else, `truncated` if `data` is the beginning of a value.
    """
    if len(data) > max_size:
        raise malformed(f"it has {len(data)} octets, more than {max_size}")
    scanner = _Scanner(data, tags, max_items)
    value = scanner.item(max_depth)
    if scanner.position != len(data):
        raise malformed(f"{len(data) - scanner.position} octets follow behind its end")
    return value


INTEGERS = tuple(head(0, value) for value in range(_DIRECT))
"""What `encode` gives of the smallest integers."""
OCTETS_HEADS = tuple(head(_OCTETS, size) for size in range(1 << 8))
"""What is in front of short byte strings, by their size."""


def octets_at(data: bytes, position: int) -> bytes:
    """The byte string that begins at `position`, whatever surrounds it. Raises as `decode` does."""
    scanner = _Scanner(data, (), max_items=1)
    scanner.position = position
    return octets(scanner.item(0))


class _Scanner:
    """One pass over `data`: `position` is where the next item begins."""

    __slots__ = ("_budget", "_data", "_end", "_tags", "position")

    def __init__(self, data: bytes, tags: Collection[int], max_items: int) -> None:
        self._data = data
        self._end = len(data)
        self._tags = tags
        self._budget = max_items - 1  # the outermost counts, too
        self.position = 0

    def item(self, depth: int) -> object:
        """The item at `position`, which may hold containers `depth` levels deep."""
        position = self.position
        if position >= self._end:
            raise self._truncated()
        initial = self._data[position]
        self.position = position + 1
        if initial < _DIRECT:
            return initial
        major, argument = initial >> 5, initial & 0x1F
        if major == 7:
            if initial not in _SIMPLE:
                raise malformed("it has a floating-point number or a simple value")
            return _SIMPLE[initial]
        if argument >= _DIRECT:
            argument = self._argument(argument)
        if major == 2:
            return self._take(argument)
        if major == 0:
            return argument
        if major == 1:
            return -1 - argument
        if major == 3:
            try:
                return self._take(argument).decode()
            except UnicodeDecodeError:
                raise malformed("a text string is not UTF-8") from None
        return self._container(major, argument, depth)

    def _container(self, major: int, argument: int, depth: int) -> object:
        if major == 6 and argument not in self._tags:
            raise malformed(f"it has an item with tag {argument}")
        if not depth:
            raise malformed("its items lie too deep inside each other")
        if major == 4:
            self._expect(argument)
            return [self.item(depth - 1) for _ in range(argument)]
        if major == 5:
            self._expect(2 * argument)
            return self._map(argument, depth - 1)
        self._expect(1)
        return CBORTag(argument, self.item(depth - 1))

    def _map(self, count: int, depth: int) -> dict[object, object]:
        entries: dict[object, object] = {}
        last = (0, b"")
        for _ in range(count):
            start = self.position
            if start < self._end and self._data[start] >> 5 not in (0, 1, 3):
                raise malformed("the key of a map is neither an integer nor a text")
            key = self.item(0)
            encoded = self._data[start : self.position]
            this = len(encoded), encoded
            if this <= last:
                raise malformed("the keys of a map repeat or are not in order")
            last = this
            entries[key] = self.item(depth)
        return entries

    def _argument(self, information: int) -> int:
        """The argument that follows the first octet of a head, in its shortest form."""
        size = _ARGUMENT_SIZES.get(information)
        if not size:
            raise malformed("it has an item of indefinite or reserved length")
        argument = int.from_bytes(self._take(size))
        if argument < (_DIRECT if size == 1 else 1 << 4 * size):
            raise malformed("the head of an item is not in its shortest form")
        return argument

    def _take(self, size: int) -> bytes:
        end = self.position + size
        if end > self._end:
            raise self._truncated()
        octets = self._data[self.position : end]
        self.position = end
        return octets

    def _expect(self, items: int) -> None:
        """Raise CborError unless so many further items are permitted and can follow."""
        self._budget -= items
        if self._budget < 0:
            raise malformed("it has too many items")
        if items > self._end - self.position:
            raise self._truncated()

    def _truncated(self) -> CborError:
        return CborError("truncated", f"it ends after {self._end} octets, too early")


def malformed(reason: str) -> CborError:
    """A CborError for a value that is well encoded and yet not what belongs there."""
    return CborError("malformed", reason)


def array(value: object, sizes: Collection[int]) -> Sequence[object]:
    """The items of an array with as many items as `sizes` permits."""
    if not isinstance(value, list | tuple) or len(value) not in sizes:
        raise malformed("an array of another size was expected")
    return value


def mapping(value: object, keys: Collection[object]) -> Mapping[Any, object]:
    """The entries of a map with exactly these `keys`."""
    if not isinstance(value, Mapping) or value.keys() != set(keys):
        raise malformed("a map with other keys was expected")
    return value


def octets(value: object, sizes: Collection[int] | None = None) -> bytes:
    """A byte string of one of `sizes`, or of any size."""
    if type(value) is not bytes or (sizes is not None and len(value) not in sizes):
        raise malformed("a byte string of another size was expected")
    return value


def text(value: object) -> str:
    """A text string."""
    if type(value) is not str:
        raise malformed("a text string was expected")
    return value


def uint(value: object) -> int:
    """An unsigned integer of 64 bits."""
    if type(value) is not int or not 0 <= value < _UINT64:
        raise malformed("an unsigned integer was expected")
    return value

"""Deterministic CBOR (RFC 8949, 4.2) for everything vtpmd stores: one value, one encoding.

``encode`` and ``decode`` move whole values; the functions behind them take a decoded value apart
and accept exactly the type and size that is asked for.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import cbor2

_MAX_DEPTH = 8
_UINT64 = 1 << 64


class CborError(Exception):
    """The bytes are not exactly one deterministically encoded value of the expected shape.

    ``kind`` says what is wrong: they end too early, or anything else.
    """

    def __init__(self, kind: Literal["truncated", "malformed"], reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


def encode(value: object) -> bytes:
    """Encode ``value`` deterministically: shortest forms, definite lengths, sorted map keys."""
    return cbor2.dumps(value, canonical=True)


def decode(data: bytes) -> object:
    """Decode exactly one value whose deterministic encoding is ``data``.

    Raises CborError for everything else. Tags may have become Python objects of any type.
    """
    try:
        value: object = cbor2.loads(
            data, allow_duplicate_keys=False, allow_indefinite=False, max_depth=_MAX_DEPTH
        )
        canonical = encode(value)
    except cbor2.CBORDecodeEOF:
        raise CborError("truncated", f"it ends after {len(data)} bytes, too early") from None
    except Exception as error:
        # cbor2 builds dates, patterns, fractions … from tags: the input chooses what is raised.
        raise malformed(f"it is not valid CBOR ({type(error).__name__})") from None
    if canonical == data:
        return value
    if data.startswith(canonical):
        raise malformed(f"{len(data) - len(canonical)} bytes follow behind its end")
    raise malformed("its encoding is not the deterministic one")


def malformed(reason: str) -> CborError:
    """A CborError for a value that is well encoded and yet not what belongs there."""
    return CborError("malformed", reason)


def array(value: object, sizes: Collection[int]) -> Sequence[object]:
    """The items of an array with as many items as ``sizes`` permits."""
    if not isinstance(value, list | tuple) or len(value) not in sizes:
        raise malformed("an array of another size was expected")
    return value


def mapping(value: object, keys: Collection[object]) -> Mapping[Any, object]:
    """The entries of a map with exactly these ``keys``."""
    if not isinstance(value, Mapping) or value.keys() != set(keys):
        raise malformed("a map with other keys was expected")
    return value


def octets(value: object, sizes: Collection[int] | None = None) -> bytes:
    """A byte string of one of ``sizes``, or of any size."""
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

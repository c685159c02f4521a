"""A naive reader of the same declarations: no generated code, one decision after the other.

It shares the declarations with what it checks, and nothing else.
"""

from dataclasses import dataclass
from typing import Any

from vtpmd.tpm.rc import RC, TpmError
from vtpmd.tpm.wire.constants import ALG
from vtpmd.tpm.wire.structure import (
    AllowedSets,
    Digest,
    Empty,
    Kind,
    ListOf,
    Nested,
    PcrSelect,
    Rest,
    Sized,
    SizedStructure,
    UInt,
    Union,
)

DIGEST_SIZES = {
    ALG.NULL: 0,
    ALG.SHA1: 20,
    ALG.SHA256: 32,
    ALG.SHA384: 48,
    ALG.SHA512: 64,
    ALG.SHA3_256: 32,
    ALG.SHA3_384: 48,
    ALG.SHA3_512: 64,
}


@dataclass
class Cursor:
    """Octets, and how many of them have been read."""

    octets: bytes
    offset: int = 0

    def take(self, count: int) -> bytes:
        if count > len(self.octets) - self.offset:
            raise TpmError(RC.INSUFFICIENT)
        self.offset += count
        return self.octets[self.offset - count : self.offset]

    def integer(self, size: int, signed: bool = False) -> int:
        return int.from_bytes(self.take(size), "big", signed=signed)


def is_allowed(kind: UInt, number: int, profile: AllowedSets) -> bool:
    if not (kind.allowed or kind.ranges or kind.listed or kind.extra):
        return True
    listed: Any = getattr(profile, kind.listed) if kind.listed else ()
    if kind.under is not None:
        listed = listed[kind.under]
    in_range = any(number in range(first, last + 1) for first, last in kind.ranges)
    return in_range or number in kind.allowed or number in listed or number in kind.extra


def read_fields(kind: Nested, cursor: Cursor, profile: AllowedSets) -> Any:
    values: dict[str, Any] = {}
    for field, declared in kind.of.__wire__:
        values[field] = read(kind.relaxed.get(field, declared), cursor, profile, values)
    return kind.of(**values)


def read(kind: Kind, cursor: Cursor, profile: AllowedSets, before: dict[str, Any]) -> Any:
    """The value at the cursor; `before` has the fields that precede it in its structure."""
    match kind:
        case Empty():
            return None
        case UInt():
            number = cursor.integer(kind.size, kind.signed)
            if not is_allowed(kind, number, profile):
                raise TpmError(kind.error)
            if number & kind.reserved:
                raise TpmError(RC.RESERVED_BITS)
            return number
        case Sized():
            size = cursor.integer(2)
            limit = getattr(profile, kind.limit) if isinstance(kind.limit, str) else kind.limit
            if size > limit or size < kind.minimum:
                raise TpmError(RC.SIZE)
            return cursor.take(size)
        case PcrSelect():
            size = cursor.integer(1)
            if size < kind.minimum or size > kind.maximum:
                raise TpmError(RC.VALUE)
            return cursor.take(size)
        case Digest():
            return cursor.take(DIGEST_SIZES[before[kind.by]])
        case Rest():
            return cursor.take(len(cursor.octets) - cursor.offset)
        case ListOf():
            count = cursor.integer(4)
            most = len(getattr(profile, kind.limit)) if isinstance(kind.limit, str) else kind.limit
            if count > most or count < kind.minimum:
                raise TpmError(RC.SIZE)
            return [read(kind.of, cursor, profile, {}) for _ in range(count)]
        case Nested():
            return read_fields(kind, cursor, profile)
        case SizedStructure():
            size, start = cursor.integer(2), cursor.offset
            if size == 0:
                if kind.optional:
                    return None
                raise TpmError(RC.SIZE)
            value = read(kind.of, cursor, profile, {})
            if cursor.offset - start != size:
                raise TpmError(RC.SIZE)
            return value
        case Union():
            selector = before[kind.selector]
            if selector not in kind.arms:
                raise TpmError(RC.SELECTOR)
            return read(kind.arms[selector], cursor, profile, before)
    raise AssertionError(f"no rule for {kind}")

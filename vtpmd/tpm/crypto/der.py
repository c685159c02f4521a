"""The parts of DER (ITU-T X.690) that certificates need (RFC 5280)."""

from typing import Final, NamedTuple

INTEGER: Final = 0x02
BIT_STRING: Final = 0x03
OCTET_STRING: Final = 0x04
NULL: Final = 0x05
OBJECT_IDENTIFIER: Final = 0x06
SEQUENCE: Final = 0x30
_CONTEXT: Final = 0xA0
_LONG_TAG = 0x1F


class Element(NamedTuple):
    """An element that was read: its tag, its contents, and the whole of it."""

    tag: int
    contents: bytes
    whole: bytes


def element(tag: int, *contents: bytes) -> bytes:
    """Tag, length and contents."""
    body = b"".join(contents)
    if len(body) < 0x80:
        return bytes((tag, len(body))) + body
    size = len(body).to_bytes((len(body).bit_length() + 7) // 8)
    return bytes((tag, 0x80 | len(size))) + size + body


def sequence(*contents: bytes) -> bytes:
    """SEQUENCE of elements."""
    return element(SEQUENCE, *contents)


def context(number: int, *contents: bytes) -> bytes:
    """EXPLICIT [number]."""
    return element(_CONTEXT | number, *contents)


def integer(value: int) -> bytes:
    """INTEGER, not negative."""
    return element(INTEGER, value.to_bytes(value.bit_length() // 8 + 1))


def bit_string(octets: bytes) -> bytes:
    """BIT STRING of whole octets."""
    return element(BIT_STRING, b"\0", octets)


def oid(dotted: str) -> bytes:
    """OBJECT IDENTIFIER."""
    first, second, *rest = (int(arc) for arc in dotted.split("."))
    return element(OBJECT_IDENTIFIER, *(_arc(arc) for arc in (40 * first + second, *rest)))


def _arc(arc: int) -> bytes:
    octets = [arc & 0x7F]
    while arc := arc >> 7:
        octets.append(0x80 | arc & 0x7F)
    return bytes(reversed(octets))


def elements(octets: bytes) -> list[Element]:
    """The elements that these octets consist of. ValueError if they don't."""
    found, offset = [], 0
    while offset < len(octets):
        start, offset = offset, offset + 2
        header = octets[start:offset]
        if len(header) < 2 or header[0] & _LONG_TAG == _LONG_TAG:
            raise ValueError("not DER")
        size = header[1]
        if size & 0x80:
            start_of_size, offset = offset, offset + (size & 0x7F)
            size = int.from_bytes(octets[start_of_size:offset])
            if size < 0x80 or not octets[start_of_size]:
                raise ValueError("not DER")
        end = offset + size
        if end > len(octets):
            raise ValueError("not DER")
        found.append(Element(header[0], octets[offset:end], octets[start:end]))
        offset = end
    return found


def bits(octets: bytes) -> int:
    """The contents of a BIT STRING of up to 32 bits, the first one as bit 31. ValueError."""
    if not octets or octets[0] > 7 or len(octets) > 5 or (len(octets) == 1 and octets[0]):
        raise ValueError("not a short bit string")
    value = int.from_bytes(octets[1:])
    unused = octets[0]
    return (value >> unused << unused) << 8 * (5 - len(octets))

"""One decoder for what is stored and sent: what is written, octet by octet, and nothing else.

cbor2 is the oracle: it decodes the same octets independently.
"""

import subprocess
import sys
import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cbor2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vtpmd.encoding.cbor import (
    MAX_DEPTH,
    MAX_ITEMS,
    MAX_SIZE,
    CborError,
    array_of,
    decode,
    encode,
    encode_integer,
    encode_octets,
    encode_text,
    map_of,
)

ROOT = Path(__file__).parents[2]
TAG = 96
EDGES = [
    edge + step
    for edge in (0, 24, 1 << 8, 1 << 16, 1 << 32, 1 << 63, 1 << 64)
    for step in (-1, 0, 1)
    if edge + step < 1 << 64
]

integers = st.integers(-(1 << 64), (1 << 64) - 1) | st.sampled_from(EDGES)
keys = integers | st.text(max_size=30)
values = st.recursive(
    st.none() | st.booleans() | integers | st.text(max_size=300) | st.binary(max_size=300),
    lambda inner: (
        st.lists(inner, max_size=30)
        | st.dictionaries(keys, inner, max_size=8)
        | st.builds(cbor2.CBORTag, st.just(TAG), inner)
    ),
    max_leaves=40,
).filter(lambda value: depth(value) <= MAX_DEPTH)

items = keys | st.lists(keys, max_size=2)
"""For what puts encoded values together and does not look into them."""


def depth(value: object) -> int:
    match value:
        case list():
            return 1 + max(map(depth, value), default=0)
        case dict():
            return 1 + max(map(depth, value.values()), default=0)
        case cbor2.CBORTag():
            return 1 + depth(value.value)
    return 0


def oracle(data: bytes) -> object:
    """What cbor2 decodes, with the types of what is mutable: in a tag it makes tuples of lists."""
    return plain(cbor2.loads(data, allow_indefinite=False, allow_duplicate_keys=False))


def plain(value: Any) -> object:
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, cbor2.CBORTag):
        return cbor2.CBORTag(value.tag, plain(value.value))
    return value


def permitted(value: object) -> bool:
    """Whether this is of the types that are written, tags apart."""
    if isinstance(value, dict):
        return all(type(key) in (int, str) and permitted(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(permitted, value))
    return value is None or type(value) in (bool, int, bytes, str)


def refusal(data: bytes, **options: Any) -> str:
    with pytest.raises(CborError) as caught:
        decode(data, **options)
    return caught.value.kind


@given(values)
@example(dict.fromkeys(EDGES))
@example({"": 1, -1: 2, 24: 3, "aa": 4, -1000: 5})
def test_every_value_is_read_back(value: object) -> None:
    data = encode(value)
    found = decode(data, tags=[TAG])
    assert found == value == oracle(data)
    assert repr(found) == repr(value) or depth(value)  # True is not 1


@given(values, st.data())
def test_every_beginning_of_a_value_is_truncated(value: object, data: st.DataObject) -> None:
    encoded = encode(value)
    size = data.draw(st.integers(0, len(encoded) - 1))
    assert refusal(encoded[:size], tags=[TAG]) == "truncated"
    assert refusal(encoded + b"\0", tags=[TAG]) == "malformed"


@given(st.sampled_from([edge for edge in EDGES if 0 <= edge < 1 << 17]))
def test_octets_are_encoded_as_any_value(size: int) -> None:
    assert encode_octets(bytes(size)) == encode(bytes(size))
    assert encode_text("a" * size) == encode("a" * size)


@given(st.sampled_from(EDGES) | st.integers(-(1 << 64), (1 << 64) - 1))
def test_integers_are_encoded_as_any_value(value: int) -> None:
    assert encode_integer(value) == encode(value)


@given(st.lists(items, max_size=30))
@example([0] * 24)
@example([0] * 256)
def test_an_array_of_what_is_encoded(content: list[object]) -> None:
    assert array_of(*map(encode, content)) == encode(content)


@given(st.dictionaries(st.integers(0, 1 << 32), items, max_size=30))
@example(dict.fromkeys(range(24)))
@example(dict.fromkeys(range(256)))
def test_a_map_of_what_is_encoded(entries: dict[int, object]) -> None:
    encoded = (encode(key) + encode(entries[key]) for key in sorted(entries))
    assert map_of(*encoded) == encode(entries)


def accepted_only_as_the_oracle_does(data: bytes) -> None:
    try:
        value = decode(data, tags=[TAG])
    except CborError:
        return
    assert oracle(data) == value
    assert cbor2.dumps(value, canonical=True) == data


@given(st.binary(max_size=60))
def test_arbitrary_octets(data: bytes) -> None:
    accepted_only_as_the_oracle_does(data)


@given(values, st.data())
def test_changed_octets(value: object, data: st.DataObject) -> None:
    encoded = bytearray(encode(value))
    for _ in range(data.draw(st.integers(1, 3))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    accepted_only_as_the_oracle_does(bytes(encoded))


def test_every_input_of_two_octets() -> None:
    for number in range(1 << 16):
        data = number.to_bytes(2)
        try:
            value = oracle(data)
            good = permitted(value) and cbor2.dumps(value, canonical=True) == data
        except Exception:  # cbor2 builds dates and more from tags: the input chooses what is raised
            good = False
        try:
            decode(data)
        except CborError:
            assert not good, data.hex()
        else:
            assert good, data.hex()


REFUSED = {
    "float": "f93c00",
    "double": "fb3ff199999999999a",
    "not a number": "f97e00",
    "undefined": "f7",
    "simple value": "f0",
    "simple value in two octets": "f8ff",
    "break": "ff",
    "indefinite octets": "5f4101ff",
    "indefinite text": "7f6161ff",
    "indefinite array": "9f00ff",
    "indefinite map": "bf0000ff",
    "reserved length": "1c",
    "text that is not UTF-8": "62c328",
    "surrogate": "63eda080",
    "text in a longer form than UTF-8 has": "62c080",
    "integer in two octets": "1817",
    "integer in three octets": "1900ff",
    "integer in five octets": "1a0000ffff",
    "integer in nine octets": "1b00000000ffffffff",
    "length in two octets": "5801aa",
    "repeated key": "a200000000",
    "repeated text": "a2616100616100",
    "keys out of order": "a201000000",
    "longer key first": "a21818000000",
    "bytewise order where it differs": "a21818002000",
    "octets as key": "a1410000",
    "array as key": "a18000",
    "map as key": "a1a000",
    "null as key": "a1f600",
    "boolean as key": "a1f400",
    "tag as key": "a1c00000",
    "date": "c074323031332d30332d32315432303a30343a30305a",
    "large integer": "c249010000000000000000",
    "string reference": "d81900",
    "shared value": "d81c8100",
    "reference to a shared value": "d81d00",
    "namespace of string references": "d9010000",
    "embedded CBOR": "d8184100",
    "a tag of this format where none may be": "d86000",
    "no length of 64 bits": "5bffffffffffffffff",
    "too many items": "9b1000000000000000",
    "too many entries": "bb8000000000000000",
    "two values": "0000",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_never_written_is_refused(name: str) -> None:
    data = bytes.fromhex(REFUSED[name])
    expected = "truncated" if name == "no length of 64 bits" else "malformed"
    assert refusal(data) == expected


def test_items_that_can_not_follow_are_missed_before_the_first_is_read() -> None:
    assert refusal(bytes.fromhex("85f7")) == "truncated"
    assert refusal(bytes.fromhex("a3f700")) == "truncated"


def test_only_the_permitted_tags() -> None:
    assert decode(bytes.fromhex("d86000"), tags=[TAG]) == cbor2.CBORTag(TAG, 0)
    assert refusal(bytes.fromhex("d86100"), tags=[TAG]) == "malformed"
    assert refusal(bytes.fromhex("d81c80"), tags=[TAG]) == "malformed"


@pytest.mark.parametrize("open_container", [b"\x81", b"\xa1\x00", b"\xd8\x60"])
def test_depth_is_limited(open_container: bytes) -> None:
    assert depth(decode(open_container * MAX_DEPTH + b"\0", tags=[TAG])) == MAX_DEPTH
    assert refusal(open_container * (MAX_DEPTH + 1) + b"\0", tags=[TAG]) == "malformed"
    assert refusal(open_container * (MAX_SIZE // 4), tags=[TAG]) == "malformed"
    assert refusal(open_container + b"\0", tags=[TAG], max_depth=0) == "malformed"


def test_size_is_limited() -> None:
    data = encode(bytes(MAX_SIZE - 5))
    assert len(data) == MAX_SIZE
    assert decode(data) == bytes(MAX_SIZE - 5)
    assert refusal(data + b"\0") == "malformed"
    assert refusal(encode("four"), max_size=4) == "malformed"


def test_number_of_items_is_limited() -> None:
    assert decode(encode([0] * (MAX_ITEMS - 1))) == [0] * (MAX_ITEMS - 1)
    assert refusal(encode([0] * MAX_ITEMS)) == "malformed"
    halves = [[0] * (MAX_ITEMS // 2)] * 2
    assert refusal(encode(halves)) == "malformed"
    assert decode(encode({1: 2}), max_items=3) == {1: 2}
    assert refusal(encode({1: 2}), max_items=2) == "malformed"
    assert refusal(bytes.fromhex("d86000"), tags=[TAG], max_items=1) == "malformed"


def _namespace(content: bytes) -> bytes:
    return b"\xd9\x01\x00" + content


def shared_values(levels: int) -> bytes:
    """Arrays of two references to the array before; 2^levels items when expanded."""
    value = b"\xd8\x1c\x82\x00\x00"
    for level in range(levels):
        value = b"\xd8\x1c\x82" + value + b"\xd8\x1d" + encode(levels - level)
    return value


def string_references() -> bytes:
    """A string of 128 KiB and as many references to it."""
    return _namespace(
        b"\x9a\x00\x01\x00\x01" + encode(bytes(1 << 17)) + b"\xd8\x19\x00" * (1 << 16)
    )


BOMBS = {
    "shared values": shared_values(40),
    "string references": string_references(),
    "array of 2^60": b"\x9b\x10" + bytes(7),
    "map of 2^60": b"\xbb\x10" + bytes(7),
    "octets of 2^60": b"\x5b\x10" + bytes(7),
    "text of 2^60": b"\x7b\x10" + bytes(7),
    "array of as many as there are octets": b"\x9a\x00\x3f\xff\x00" + b"\x80" * 0x3FFF00,
    "arrays within arrays": b"\x81" * MAX_SIZE,
    "empty maps": encode([{}] * (MAX_ITEMS - 1)),
    "power of ten": b"\xc4\x82\x1b\x7f" + b"\xff" * 7 + b"\x01",
    "large number": b"\xc2" + encode(b"\xff" * (1 << 20)),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_cost_next_to_nothing(name: str) -> None:
    tracemalloc.start()
    try:
        try:
            decode(BOMBS[name], tags=[TAG])
            assert name == "empty maps"
        except CborError:
            assert name != "empty maps"
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20


DECODE = """
import resource, sys
from vtpmd.encoding.cbor import CborError, decode
data = sys.stdin.buffer.read()
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (16 << 20),) * 2)
resource.setrlimit(resource.RLIMIT_CPU, (5, 5))
try:
    decode(data, tags=[96])
except CborError:
    print("refused")
"""


@pytest.mark.parametrize("name", ["shared values", "string references", "arrays within arrays"])
def test_bombs_are_refused_in_a_small_address_space(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DECODE],
        input=BOMBS[name],
        capture_output=True,
        cwd=ROOT,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, b"refused\n"), done.stderr

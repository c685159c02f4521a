"""Slots are read back as they were written, and nothing else is read as a slot."""

from typing import Any

import pytest
from cbor2 import CBORTag
from hypothesis import given
from hypothesis import strategies as st

from vtpmd.encoding import cbor
from vtpmd.encoding.cbor import CborError
from vtpmd.storage.slot import Slot

names = st.text(max_size=20).filter(str.isprintable)
slots = st.builds(
    Slot,
    provider_type=names,
    provider=names,
    key_ref=names,
    key_version=names,
    algorithm=names,
    wrapped=st.binary(min_size=1, max_size=4096),
    created=st.integers(0, 2**64 - 1),
    purpose=st.sampled_from(["primary", "recovery"]),
)
GOOD = Slot("local", "host", "kek", "a1b2", "A256GCM", b"\x55" * 60, 1_700_000_000)


@given(slots)
def test_slot_is_read_back(slot: Slot) -> None:
    assert Slot.from_cbor(cbor.decode(cbor.encode(slot.to_cbor()))) == slot


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *((1, "lo\x1b[2Jcal"), (2, "ho\nst"), (3, "\ud800"), (4, "x" * 2049)),
        *((1, b"local"), (4, 3), (6, b""), (6, bytes(4097)), (6, "x"), (7, -1), (7, True)),
        (6, CBORTag(1000, b"x")),
        *((7, 1.0), (8, "tertiary"), (8, None), (9, "surplus")),
    ],
)
def test_slot_of_another_shape_is_refused(key: int, value: Any) -> None:
    with pytest.raises(CborError):
        Slot.from_cbor({**GOOD.to_cbor(), key: value})


@pytest.mark.parametrize("value", [None, [], {}, {1: "local"}, "slot"])
def test_what_is_no_slot_is_refused(value: Any) -> None:
    with pytest.raises(CborError):
        Slot.from_cbor(value)


def test_slot_that_could_not_be_read_back_is_not_made() -> None:
    with pytest.raises(ValueError, match="not a slot"):
        Slot("local", "host", "kek", "a1b2", "A256GCM", b"", 0)


def test_wrapped_key_is_not_shown() -> None:
    assert "U" * 8 not in repr(GOOD)

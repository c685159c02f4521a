"""Generated code against hypothesis and against the oracle."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vtpmd.tpm.rc import RC, TpmError
from vtpmd.tpm.wire.objects import TPMT_PUBLIC
from vtpmd.tpm.wire.structure import kind_of, parse, reader, writer

from . import oracle
from .declarations import ALONE, PROFILE, STRUCTURES
from .strategies import damaged, value

# A template for a derived object can only be read.
WRITABLE = {name: hint for name, hint in ALONE.items() if name != "TPMT_PUBLIC_DERIVE"}


def outcome(read: Any, *arguments: Any) -> Any:
    try:
        return read(*arguments)
    except TpmError as error:
        return RC(error.code).name


def read_generated(name: str, octets: bytes) -> Any:
    return outcome(reader(ALONE[name]), octets, 0, PROFILE)


def read_naively(name: str, octets: bytes) -> Any:
    cursor = oracle.Cursor(octets)
    read = outcome(oracle.read, kind_of(ALONE[name]), cursor, PROFILE, {})
    return read if isinstance(read, str) else (read, cursor.offset)


@pytest.mark.parametrize("name", sorted(WRITABLE))
@settings(max_examples=8)
@given(data=st.data())
def test_what_is_written_reads_back_the_same(name: str, data: st.DataObject) -> None:
    hint = WRITABLE[name]
    written = data.draw(value(kind_of(hint), PROFILE, {}))
    octets = writer(hint)(written)
    assert parse(hint, octets, PROFILE) == written
    assert read_naively(name, octets) == (written, len(octets))


@pytest.mark.parametrize("name", sorted(WRITABLE))
@settings(max_examples=15)
@given(data=st.data())
def test_damaged_octets_give_what_the_oracle_gives(name: str, data: st.DataObject) -> None:
    hint = WRITABLE[name]
    octets = writer(hint)(data.draw(value(kind_of(hint), PROFILE, {})))
    octets = data.draw(damaged(octets))
    assert read_generated(name, octets) == read_naively(name, octets)


@settings(max_examples=300)
@given(data=st.data())
def test_damaged_public_areas_give_what_the_oracle_gives(data: st.DataObject) -> None:
    public: TPMT_PUBLIC = data.draw(value(kind_of(TPMT_PUBLIC), PROFILE, {}))
    octets = data.draw(damaged(public.marshal()))
    for name in ("TPMT_PUBLIC", "TPMT_PUBLIC_NULL", "TPMT_PUBLIC_DERIVE"):
        assert read_generated(name, octets) == read_naively(name, octets)


@pytest.mark.parametrize("name", sorted(STRUCTURES))
@given(octets=st.binary(max_size=100))
@settings(max_examples=10)
def test_random_octets_give_what_the_oracle_gives(name: str, octets: bytes) -> None:
    assert read_generated(name, octets) == read_naively(name, octets)


@given(octets=st.binary(max_size=40), offset=st.integers(0, 60))
def test_reading_starts_anywhere(octets: bytes, offset: int) -> None:
    structure = STRUCTURES["TPMS_CLOCK_INFO"]
    at_offset = outcome(structure.unmarshal, octets, offset, PROFILE)
    sliced = outcome(structure.unmarshal, octets[offset:], 0, PROFILE)
    if isinstance(sliced, str):
        assert at_offset == sliced
    else:
        assert at_offset == (sliced[0], sliced[1] + offset)

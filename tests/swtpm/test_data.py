"""The data channel: one command at a time, framed by its size field, wherever it is cut."""

import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtpmd.swtpm.data import (
    DataParser,
    DataRequest,
    VendorResponse,
    bounded,
    judge,
    vendor_set_locality,
)
from vtpmd.tpm.engine import RC, refusal

READ_CLOCK = bytes.fromhex("80010000000a00000181")
COMMAND_SIZE = bytes.fromhex("80010000000a00000142")
FAILURE = bytes.fromhex("80010000000a00000101")
LIMIT = 4096


def test_a_command_may_hold_secrets_and_is_not_shown() -> None:
    assert repr(DataRequest(b"a password", 3)) == "DataRequest(10 octets)"


def _command(body: bytes, tag: int = 0x8001) -> bytes:
    return struct.pack(">HII", tag, 10 + len(body), 0x17B) + body


def _tcg(locality: int, command: bytes) -> bytes:
    return struct.pack(">IBI", 8, locality, len(command)) + command


def _raw() -> DataParser:
    return DataParser(tcg_form=False)


def _both() -> DataParser:
    return DataParser(tcg_form=True)


def _feed(data: bytes, parser: DataParser | None = None) -> DataRequest:
    request = (parser or _both()).feed(data, LIMIT)
    assert request is not None
    return request


_COMMANDS = st.one_of(
    st.binary(max_size=40).map(lambda body: (_command(body), None)),
    st.tuples(st.integers(0, 4), st.binary(max_size=40).map(_command)).map(
        lambda pair: (pair[1], pair[0])
    ),
)


@given(st.lists(_COMMANDS, max_size=8), st.data())
def test_commands_come_out_however_they_are_cut(
    commands: list[tuple[bytes, int | None]], data: st.DataObject
) -> None:
    parser = _both()
    for command, locality in commands:
        octets = command if locality is None else _tcg(locality, command)
        while octets:
            taken = data.draw(st.integers(1, len(octets)))
            request = parser.feed(octets[:taken], LIMIT)
            octets = octets[taken:]
            assert (request is None) is bool(octets)
        assert request is not None
        assert (request.command, request.tcg_locality) == (command, locality)
        assert not parser.unfinished
    assert parser.dropped == 0


def test_what_comes_behind_a_command_is_dropped_and_counted() -> None:
    parser = _raw()
    assert parser.feed(READ_CLOCK * 3 + b"\x80", LIMIT) == DataRequest(READ_CLOCK)
    assert (parser.dropped, parser.unfinished) == (21, bytearray())
    assert parser.feed(READ_CLOCK, LIMIT) == DataRequest(READ_CLOCK)
    assert parser.dropped == 21


@pytest.mark.parametrize("limit", [2808, 3968, 4096])
@pytest.mark.parametrize("more", [b"", b"behind"])
def test_the_negotiated_size_is_the_limit(limit: int, more: bytes) -> None:
    longest, too_long = _command(bytes(limit - 10)), _command(bytes(limit - 9))
    assert _raw().feed(longest + more, limit) == DataRequest(longest)
    parser = _raw()
    assert parser.feed(too_long + more, limit) == DataRequest(error=RC.COMMAND_SIZE)
    assert not parser.unfinished


@pytest.mark.parametrize("size", [0, 1, 5, 6, 9, LIMIT + 1, 2**31, 2**32 - 1])
@pytest.mark.parametrize("came", [6, 7, 10, 3968])
def test_an_impossible_size_is_refused_at_once_with_all_that_came(size: int, came: int) -> None:
    parser = _raw()
    octets = struct.pack(">HII", 0x8001, size, 0x17B).ljust(3968, b"\xee")[:came]
    assert parser.feed(octets, LIMIT) == DataRequest(error=RC.COMMAND_SIZE)
    assert (parser.unfinished, parser.dropped) == (bytearray(), came)
    assert parser.feed(READ_CLOCK, LIMIT) == DataRequest(READ_CLOCK)


def test_ten_octets_are_a_command_and_nine_are_not() -> None:
    assert judge(_feed(READ_CLOCK), running=True) is None
    nine = struct.pack(">HII", 0x8001, 9, 0x181)[:9]
    assert judge(_feed(nine), running=True) == COMMAND_SIZE


def test_five_octets_say_nothing_yet() -> None:
    parser = _raw()
    assert parser.feed(b"\x80\x01\0\0\0", LIMIT) is None
    assert parser.unfinished
    assert parser.feed(b"\x06", LIMIT) == DataRequest(error=RC.COMMAND_SIZE)


@pytest.mark.parametrize("parser", [_raw, _both])
@pytest.mark.parametrize(
    "data", [b"\x80", READ_CLOCK[:5], READ_CLOCK[:-1], _command(bytes(99))[:50]]
)
def test_an_incomplete_command_expires_and_leaves_a_clean_slate(
    parser: Callable[[], DataParser], data: bytes
) -> None:
    made = parser()
    assert made.feed(data, LIMIT) is None
    assert made.expire() == DataRequest(error=RC.COMMAND_SIZE)
    assert (made.unfinished, made.dropped) == (bytearray(), len(data))
    assert made.feed(READ_CLOCK, LIMIT) == DataRequest(READ_CLOCK)
    assert made.expire() is None


def test_a_stopped_tpm_fails_every_command() -> None:
    assert judge(_feed(READ_CLOCK), running=False) == FAILURE
    assert judge(_feed(READ_CLOCK), running=True) is None


def test_an_answer_is_no_longer_than_the_buffer() -> None:
    assert bounded(bytes(2808), 2808) == bytes(2808)
    assert bounded(bytes(2809), 2808) == bytes.fromhex("80010000000a00000095")


# --- the TCG form, of data listeners alone ------------------------------------------------------


@pytest.mark.parametrize("locality", [0, 2, 4])
def test_a_raw_channel_knows_no_tcg_form(locality: int) -> None:
    """Its first octets are a tag and a size field of half a million."""
    parser = _raw()
    assert parser.feed(_tcg(locality, READ_CLOCK), LIMIT) == DataRequest(error=RC.COMMAND_SIZE)
    assert not parser.unfinished


def test_the_tcg_form_frames_the_response() -> None:
    request = _feed(_tcg(3, READ_CLOCK))
    assert judge(request, running=True) is None
    assert request.tcg_locality == 3
    assert request.frame(COMMAND_SIZE) == b"\0\0\0\x0a" + COMMAND_SIZE + bytes(4)


@pytest.mark.parametrize(("locality", "most"), [(5, 4), (4, 3), (255, 4)])
def test_a_bad_locality_in_the_tcg_form_is_refused(locality: int, most: int) -> None:
    request = _feed(_tcg(locality, READ_CLOCK))
    assert judge(request, running=True, max_locality=most) == refusal(RC.LOCALITY)
    highest = _feed(_tcg(most, READ_CLOCK))
    assert judge(highest, running=True, max_locality=most) is None


@pytest.mark.parametrize("size", [0, 9, LIMIT + 1, 2**32 - 1])
def test_the_tcg_form_with_an_impossible_size_is_refused_in_its_form(size: int) -> None:
    request = _feed(struct.pack(">IBI", 8, 0, size))
    assert request.error is RC.COMMAND_SIZE
    assert request.frame(COMMAND_SIZE).startswith(b"\0\0\0\x0a")


def test_the_tcg_form_is_bounded_by_its_command_not_by_its_frame() -> None:
    longest = _command(bytes(LIMIT - 10))
    assert _feed(_tcg(0, longest)) == DataRequest(longest, 0, tcg=True)


@pytest.mark.parametrize("cut", [4, 6, 8, 9, 18])
def test_an_incomplete_tcg_form_expires_in_its_form(cut: int) -> None:
    parser = _both()
    assert parser.feed(_tcg(0, READ_CLOCK)[:cut], LIMIT) is None
    assert parser.expire() == DataRequest(tcg=True, error=RC.COMMAND_SIZE)


def test_tpm_1_2_commands_reach_the_engine_to_be_refused_there() -> None:
    command = bytes.fromhex("00c10000000a000000f1")
    assert _raw().feed(command, LIMIT) == DataRequest(command)


@pytest.mark.parametrize(
    ("command", "permitted", "code", "locality"),
    [
        ("80010000000b2000100003", False, 0x101, None),
        ("80010000000b2000100003", True, 0, 3),
        ("80010000000b2000100004", True, 0, 4),
        ("80010000000b2000100005", True, 0x107, None),
        ("80010000000a20001000", True, 0x09A, None),
    ],
)
def test_the_vendor_command_for_localities(
    command: str, permitted: bool, code: int, locality: int | None
) -> None:
    answer = vendor_set_locality(bytes.fromhex(command), permitted=permitted)
    assert answer == VendorResponse(refusal(code), locality)
    assert vendor_set_locality(READ_CLOCK, permitted=permitted) is None


@given(st.lists(st.binary(min_size=1, max_size=64), max_size=20), st.booleans())
def test_arbitrary_octets_never_raise_nor_pile_up(receives: list[bytes], tcg: bool) -> None:
    parser = DataParser(tcg_form=tcg)
    for data in receives:
        request = parser.feed(data, LIMIT)
        if request is not None:
            assert not parser.unfinished
            judge(request, running=True)
    parser.expire()
    assert not parser.unfinished

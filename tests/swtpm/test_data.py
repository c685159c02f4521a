"""The data channel: framing by the size field, wherever the octets are cut."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtpmd.swtpm.data import DataParser, DataRequest, settle
from vtpmd.tpm.engine import RC, refusal

READ_CLOCK = bytes.fromhex("80010000000a00000181")
COMMAND_SIZE = bytes.fromhex("80010000000a00000142")
LIMIT = 4096


def test_a_command_may_hold_secrets_and_is_not_shown() -> None:
    assert repr(DataRequest(b"a password", 3)) == "DataRequest(10 octets)"


def _command(body: bytes, tag: int = 0x8001) -> bytes:
    return struct.pack(">HII", tag, 10 + len(body), 0x17B) + body


def _tcg(locality: int, command: bytes) -> bytes:
    return struct.pack(">IBI", 8, locality, len(command)) + command


def _answer(data: bytes, *, running: bool = True, set_locality: bool = False) -> bytes | None:
    (request,) = DataParser().feed(data, LIMIT)
    return settle(request, running=running, set_locality=set_locality).response


_COMMANDS = st.one_of(
    st.binary(max_size=40).map(lambda body: (_command(body), None)),
    st.tuples(st.integers(0, 4), st.binary(max_size=40).map(_command)).map(
        lambda pair: (pair[1], pair[0])
    ),
)


@given(st.lists(_COMMANDS, max_size=8), st.data())
def test_commands_come_out_however_the_stream_is_cut(
    commands: list[tuple[bytes, int | None]], data: st.DataObject
) -> None:
    stream = b"".join(c if locality is None else _tcg(locality, c) for c, locality in commands)
    parser = DataParser()
    found: list[DataRequest] = []
    while stream:
        taken = data.draw(st.integers(1, len(stream)))
        found += parser.feed(stream[:taken], LIMIT)
        stream = stream[taken:]
    assert [(r.command, r.tcg_locality) for r in found] == commands
    assert not parser.partial


@pytest.mark.parametrize("size", [0, 1, 9])
def test_a_header_too_small_is_refused_and_the_rest_dropped(size: int) -> None:
    parser = DataParser()
    (request,) = parser.feed(struct.pack(">HII", 0x8001, size, 0x17B) + b"rest", LIMIT)
    assert settle(request, running=True, set_locality=False).response == COMMAND_SIZE
    assert parser.feed(READ_CLOCK, LIMIT) == [DataRequest(READ_CLOCK)]


def test_six_octets_are_enough_to_refuse() -> None:
    assert [r.error for r in DataParser().feed(b"\x80\x01\0\0\0\x06", LIMIT)] == [RC.COMMAND_SIZE]


def test_a_command_above_the_buffer_is_skipped_whole_then_refused() -> None:
    parser = DataParser()
    long = _command(bytes(LIMIT))
    assert parser.feed(long[:4000], LIMIT) == []
    assert parser.partial
    assert parser.feed(long[4000:] + READ_CLOCK, LIMIT) == [
        DataRequest(error=RC.COMMAND_SIZE),
        DataRequest(READ_CLOCK),
    ]


def test_the_negotiated_size_is_the_limit() -> None:
    command = _command(bytes(2900))
    assert DataParser().feed(command, 4096) == [DataRequest(command)]
    assert [r.error for r in DataParser().feed(command, 2808)] == [RC.COMMAND_SIZE]


def test_an_incomplete_command_expires_and_leaves_a_clean_slate() -> None:
    for data in (b"\x80", READ_CLOCK[:-1], _command(bytes(9000))[:3968], _tcg(0, READ_CLOCK)[:7]):
        parser = DataParser()
        assert parser.feed(data, LIMIT) == []
        assert [r.error for r in parser.expire()] == [RC.COMMAND_SIZE]
        assert not parser.partial
        assert parser.feed(READ_CLOCK, LIMIT) == [DataRequest(READ_CLOCK)]
    assert DataParser().expire() == []


def test_a_stopped_tpm_fails_every_command() -> None:
    assert _answer(READ_CLOCK, running=False) == bytes.fromhex("80010000000a00000101")
    assert _answer(READ_CLOCK) is None


def test_the_tcg_form_frames_the_response_and_sets_the_locality() -> None:
    (request,) = DataParser().feed(_tcg(3, READ_CLOCK), LIMIT)
    settled = settle(request, running=True, set_locality=False)
    assert (settled.response, settled.locality) == (None, 3)
    assert request.frame(COMMAND_SIZE) == b"\0\0\0\x0a" + COMMAND_SIZE + bytes(4)


def test_a_bad_locality_in_the_tcg_form_is_refused() -> None:
    (request,) = DataParser().feed(_tcg(5, READ_CLOCK), LIMIT)
    settled = settle(request, running=True, set_locality=False)
    assert settled.locality is None
    assert settled.response == refusal(RC.LOCALITY)


def test_the_tcg_form_with_too_small_a_command_is_refused_in_its_form() -> None:
    (request,) = DataParser().feed(struct.pack(">IBI", 8, 0, 9), LIMIT)
    assert request.error is RC.COMMAND_SIZE
    assert request.frame(COMMAND_SIZE).startswith(b"\0\0\0\x0a")


def test_tpm_1_2_commands_reach_the_engine_to_be_refused_there() -> None:
    command = bytes.fromhex("00c10000000a000000f1")
    assert DataParser().feed(command, LIMIT) == [DataRequest(command)]


@pytest.mark.parametrize(
    ("command", "permitted", "code", "locality"),
    [
        ("80010000000b2000100003", False, 0x101, None),
        ("80010000000b2000100003", True, 0, 3),
        ("80010000000b2000100005", True, 0x107, None),
        ("80010000000a20001000", True, 0x09A, None),
    ],
)
def test_the_vendor_command_for_localities(
    command: str, permitted: bool, code: int, locality: int | None
) -> None:
    (request,) = DataParser().feed(bytes.fromhex(command), LIMIT)
    for running in (True, False):
        settled = settle(request, running=running, set_locality=permitted)
        assert (settled.response, settled.locality) == (refusal(code), locality)


@given(st.lists(st.binary(min_size=1, max_size=64), max_size=20))
def test_arbitrary_octets_never_raise_nor_pile_up(receives: list[bytes]) -> None:
    parser = DataParser()
    for data in receives:
        for request in parser.feed(data, LIMIT):
            settle(request, running=True, set_locality=True)
    parser.expire()
    assert not parser.partial


def test_what_is_too_long_or_never_ends_is_refused_in_the_form_it_came_in() -> None:
    for data, tcg in ((_command(bytes(9000)), False), (_tcg(0, _command(bytes(9000))), True)):
        (request,) = DataParser().feed(data, LIMIT)
        assert (request.tcg, request.error) == (tcg, RC.COMMAND_SIZE)
        for cut in (7, 3968, 5000):
            parser = DataParser()
            assert parser.feed(data[:cut], LIMIT) == []
            (request,) = parser.expire()
            assert (request.tcg, request.error) == (tcg, RC.COMMAND_SIZE)

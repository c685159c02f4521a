"""The control channel, octet by octet: layouts, preconditions, quirks, any cut of the stream."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.swtpm.fake_host import FakeHost
from vtpmd.swtpm.control import ControlChannel
from vtpmd.swtpm.host import Connection, ControlError
from vtpmd.swtpm.parser import RequestParser
from vtpmd.swtpm.table import BlobType, Command, Result

BAD_PARAMETER, BAD_ORDINAL, SIZE = b"\0\0\0\x03", b"\0\0\0\x0a", b"\0\0\0\x17"
OK = bytes(4)


class Client:
    """A parser, a channel and a host: what one connection makes of the octets it receives."""

    def __init__(self, host: FakeHost | None = None) -> None:
        self.host = host or FakeHost()
        self.parser = RequestParser()
        self.closed = False
        self._channel = ControlChannel(self.host, lambda: self.host.calls.append("attach"))

    def receive(self, data: bytes) -> bytes:
        """The responses to what one receive returned."""
        responses = b""
        for request in self.parser.feed(data):
            responses += self._channel.answer(request)
            self.closed |= request.close
        return responses

    def send(self, command: int, body: bytes = b"") -> bytes:
        return self.receive(struct.pack(">I", command) + body)


@pytest.fixture
def stopped() -> Client:
    return Client()


@pytest.fixture
def running() -> Client:
    client = Client()
    client.host.running = True
    return client


def test_capabilities_are_swtpms(stopped: Client) -> None:
    assert stopped.send(0x01) == bytes.fromhex("00000000 0001ffff")


def test_qemus_start_sequence(stopped: Client) -> None:
    assert stopped.send(0x10) == OK
    assert stopped.send(0x01)[:4] == OK
    for size in (0, 4096):
        assert stopped.send(0x0E) == OK
        sizes = stopped.send(0x11, struct.pack(">I", size))
        assert sizes == struct.pack(">IIII", 0, 4096, 2808, 4096)
    assert stopped.send(0x02, bytes(4)) == OK
    assert stopped.send(0x04) == bytes(8)
    assert stopped.send(0x05, b"\x03\0\0\0") == OK
    assert stopped.host.locality == 3
    assert stopped.host.calls == ["attach", "stop", "stop", ("init", False)]


@pytest.mark.parametrize("command", [c for c in Command if c.shape.requires.value == "running"])
def test_commands_that_need_a_running_tpm(stopped: Client, command: Command) -> None:
    response = stopped.send(command, bytes(struct.calcsize(command.shape.body)))
    length = {Command.GET_TPMESTABLISHED: 8, Command.GET_STATEBLOB: 16}.get(command, 4)
    assert response == BAD_ORDINAL.ljust(length, b"\0")
    assert stopped.host.calls == []


def test_set_stateblob_needs_a_stopped_tpm_and_swallows_its_data(running: Client) -> None:
    body = struct.pack(">III", 2, 1, 9) + b"\0\0\0\x02\0\0\0\0\xff"
    assert running.send(0x0D, body) == BAD_ORDINAL
    assert running.host.blobs == {}
    assert running.send(0x01)[:4] == OK


@pytest.mark.parametrize("command", [0, 0x14, 0x99, 0xFFFFFFFF])
def test_unknown_commands_are_answered_and_the_connection_stays(
    stopped: Client, command: int
) -> None:
    assert stopped.send(command, b"whatever") == BAD_ORDINAL
    assert stopped.send(0x01)[:4] == OK
    assert not stopped.closed


def test_established_is_told_in_one_octet(running: Client) -> None:
    running.host.established = True
    assert running.send(0x04) == bytes.fromhex("00000000 01000000")


@pytest.mark.parametrize("padding", [b"", b"\0\0\0", b"\xaa\xbb\xcc"])
@pytest.mark.parametrize("command", [0x05, 0x0B])
def test_locality_with_and_without_padding(running: Client, command: int, padding: bytes) -> None:
    assert running.send(command, b"\x03" + padding) == OK
    assert not running.parser.partial
    assert running.send(0x01)[:4] == OK


def test_padding_may_trail_or_be_cut(running: Client) -> None:
    for octet in struct.pack(">I", 0x05) + b"\x02\0\0\0":
        running.receive(bytes([octet]))
    assert running.host.locality == 2
    assert not running.parser.partial
    assert running.receive(b"\0") == b""
    assert running.receive(b"\0\0\x01")[:4] == OK


def test_a_command_right_behind_an_unpadded_locality(running: Client) -> None:
    assert running.send(0x05, b"\x01" + struct.pack(">I", 0x0E)) == OK + OK
    assert running.host.calls == ["stop"]


@pytest.mark.parametrize(
    ("locality", "result"), [(4, OK), (5, b"\0\0\0\x3d"), (255, b"\0\0\0\x3d")]
)
def test_set_locality_knows_five(running: Client, locality: int, result: bytes) -> None:
    assert running.send(0x05, bytes([locality])) == result


@pytest.mark.parametrize(
    ("locality", "result"), [(0, b"\0\0\0\x3d"), (2, b"\0\0\0\x3d"), (3, OK), (4, OK)]
)
def test_only_localities_3_and_4_reset_established(
    running: Client, locality: int, result: bytes
) -> None:
    assert running.send(0x0B, bytes([locality])) == result


def test_locality_outlives_init_and_stop(stopped: Client) -> None:
    stopped.send(0x05, b"\x02")
    stopped.send(0x02, bytes(4))
    stopped.send(0x0E)
    assert stopped.host.locality == 2


def test_init_takes_exactly_four_octets(stopped: Client) -> None:
    assert stopped.send(0x02, bytes(8)) == BAD_PARAMETER
    assert stopped.host.calls == []
    assert stopped.receive(struct.pack(">I", 2)) == b""
    assert stopped.receive(b"\0\0\0") == b""
    assert stopped.parser.partial
    assert stopped.receive(b"\x01") == OK
    assert stopped.host.calls == [("init", True)]


def test_init_heeds_no_flag_but_the_one_that_deletes(stopped: Client) -> None:
    assert stopped.send(0x02, struct.pack(">I", 0xFFFFFFFE)) == OK
    assert stopped.host.calls == [("init", False)]


@pytest.mark.parametrize(
    ("wanted", "given"), [(1, 2808), (2808, 2808), (3968, 3968), (4096, 4096), (1 << 31, 4096)]
)
def test_buffer_size_is_clamped(stopped: Client, wanted: int, given: int) -> None:
    response = stopped.send(0x11, struct.pack(">I", wanted))
    assert response == struct.pack(">IIII", 0, given, 2808, 4096)
    stopped.host.running = True
    assert stopped.send(0x11, bytes(4)) == response
    assert stopped.send(0x11, struct.pack(">I", 3000)) == BAD_ORDINAL


def test_info_comes_in_chunks_with_its_nul(stopped: Client) -> None:
    whole = b""
    while True:
        response = stopped.send(0x12, struct.pack(">QII", 1, len(whole), 0))
        result, total, length = struct.unpack(">III", response[:12])
        assert (result, length) == (0, len(response) - 12)
        assert length <= 3072
        whole += response[12:]
        if len(whole) == total:
            break
    assert whole == b'{"mask":1,"long":"' + b"x" * 4000 + b'"}\0'
    assert stopped.send(0x12, struct.pack(">QII", 1, len(whole), 0)) == BAD_PARAMETER
    assert stopped.send(0x12, bytes(16))[12:] == b"{}\0"


def test_config_has_no_keys_and_lock_storage_succeeds(stopped: Client) -> None:
    assert stopped.send(0x0F) == bytes(8)
    assert stopped.send(0x13, struct.pack(">I", 300)) == OK
    assert stopped.host.calls == ["lock-storage"]


def test_state_blobs_are_given_from_an_offset_in_one_shot(running: Client) -> None:
    for offset in (0, 4990, 5000, 9999):
        response = running.send(0x0C, struct.pack(">III", 1, 1, offset))
        rest = b"\x01" * max(0, 5000 - offset)
        assert response == struct.pack(">IIII", 0, 2, len(rest), len(rest)) + rest


def test_no_savestate_and_no_unknown_blob(running: Client) -> None:
    for kind in (0, 3, 7):
        response = running.send(0x0C, struct.pack(">III", 1, kind, 0))
        assert response == struct.pack(">IIII", 0x800, 0, 0, 0)
    assert running.host.calls == []


def test_whoever_has_fetched_both_blobs_takes_over(running: Client) -> None:
    for kind in (3, 1, 3, 2):
        running.send(0x0C, struct.pack(">III", 1, kind, 0))
        assert running.host.calls == []
    running.send(0x0C, struct.pack(">III", 1, 3, 0))
    assert running.host.calls == ["hand-over"]
    running.send(0x0C, struct.pack(">III", 1, 3, 0))
    assert running.host.calls == ["hand-over"]


def test_a_hand_over_that_fails_is_not_said_to_be_done_the_next_time(
    running: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in (1, 2):
        running.send(0x0C, struct.pack(">III", 1, kind, 0))

    def fail(connection: Connection) -> None:
        raise ControlError(Result.FAIL)

    with monkeypatch.context() as patch:
        patch.setattr(running.host, "hand_over", fail)
        for _ in range(2):
            assert running.send(0x0C, struct.pack(">III", 1, 3, 0))[:4] == bytes.fromhex("00000009")
    running.send(0x0C, struct.pack(">III", 1, 3, 0))
    assert running.host.calls == ["hand-over"]


def test_state_blobs_are_set_as_qemu_sends_them(stopped: Client) -> None:
    blob = bytes(range(256)) * 600
    assert stopped.send(0x0D, struct.pack(">III", 2, 1, len(blob))) == b""
    assert stopped.receive(blob[:70_000]) == b""
    assert stopped.parser.streaming
    assert stopped.receive(blob[70_000:]) == OK
    assert stopped.host.blobs == {BlobType.PERMANENT: blob}
    assert stopped.send(0x0D, struct.pack(">III", 2, 3, 0)) == OK
    assert stopped.send(0x0D, struct.pack(">III", 2, 3, 1) + b"x") == BAD_PARAMETER
    assert stopped.send(0x0D, struct.pack(">III", 2, 9, 1) + b"x") == BAD_PARAMETER


def test_a_blob_above_the_limit_is_refused_before_it_is_read(stopped: Client) -> None:
    assert stopped.send(0x0D, struct.pack(">III", 2, 1, 512 * 1024 + 1) + b"junk") == SIZE
    assert stopped.closed
    assert not stopped.parser.partial


def test_a_blob_of_exactly_the_limit_is_taken(stopped: Client) -> None:
    blob = bytes(512 * 1024)
    assert stopped.send(0x0D, struct.pack(">III", 2, 1, len(blob))) == b""
    assert stopped.receive(blob[:-1]) == b""
    assert stopped.parser.partial
    assert stopped.receive(blob[-1:]) == OK
    assert stopped.host.blobs == {BlobType.PERMANENT: blob}


@pytest.mark.parametrize("command", [c for c in Command if c.shape.stream.value == "none"])
def test_a_command_is_whole_with_its_last_octet_and_not_before(
    running: Client, command: Command
) -> None:
    octets = struct.pack(">I", command) + bytes(struct.calcsize(command.shape.body))
    for octet in octets[:-1]:
        assert running.parser.feed(bytes([octet])) == []
        assert running.parser.partial
    (request,) = running.parser.feed(octets[-1:])
    assert (request.command, request.error) == (command, None)
    assert not running.parser.partial


def test_three_octets_behind_a_locality_are_padding_and_four_are_a_request(
    running: Client,
) -> None:
    assert running.send(0x05, b"\x01" + bytes(3)) == OK
    assert not running.parser.partial
    assert running.receive(b"\0\0\0") == b""
    assert running.parser.partial  # the padding has been: this is a request
    assert running.receive(b"\x0e") == OK
    assert running.host.calls == ["stop"]


def test_hash_data_of_any_length(running: Client) -> None:
    assert running.send(0x06) == OK
    assert running.send(0x07, struct.pack(">I", 0)) == OK
    assert running.send(0x07, struct.pack(">I", 100_000)) == b""
    for _ in range(99):
        assert running.receive(b"z" * 1000) == b""
    assert running.receive(b"z" * 1000) == OK
    assert running.send(0x08) == OK
    assert running.host.calls == ["hash-start", b"z" * 100_000, "hash-end"]


def test_hash_data_of_a_stopped_tpm_is_swallowed(stopped: Client) -> None:
    assert stopped.send(0x07, struct.pack(">I", 6) + b"\0\0") == b""
    assert stopped.receive(b"\0\x0e\0\0") == BAD_ORDINAL
    assert stopped.host.calls == []


# --- any cut of the stream ------------------------------------------------------------------------

_REQUESTS = st.one_of(
    st.sampled_from([c for c in Command if c.shape.body == ">"]).map(lambda c: (int(c), b"")),
    st.tuples(st.just(0x02), st.sampled_from([bytes(4), b"\0\0\0\x01"])),
    st.tuples(st.sampled_from([0x05, 0x0B]), st.integers(0, 9).map(lambda n: bytes([n]))),
    st.tuples(st.sampled_from([0x05, 0x0B]), st.integers(0, 9).map(lambda n: bytes([n, 0, 0, 0]))),
    st.tuples(st.just(0x07), st.binary(max_size=20).map(lambda b: struct.pack(">I", len(b)) + b)),
    st.tuples(
        st.just(0x0C),
        st.tuples(st.just(1), st.integers(0, 4), st.sampled_from([0, 4999])).map(
            lambda f: struct.pack(">III", *f)
        ),
    ),
    st.tuples(
        st.just(0x0D),
        st.tuples(st.integers(1, 4), st.binary(max_size=20)).map(
            lambda f: struct.pack(">III", 2, f[0], len(f[1])) + f[1]
        ),
    ),
    st.tuples(st.just(0x11), st.sampled_from([0, 1, 4096]).map(lambda n: struct.pack(">I", n))),
    st.tuples(st.just(0x12), st.just(struct.pack(">QII", 1, 0, 0))),
    st.tuples(st.just(0x13), st.just(bytes(4))),
)


class ControlMachine(RuleBasedStateMachine):
    """The same requests whole, cut anywhere, and several at once: the same answers and effects."""

    def __init__(self) -> None:
        super().__init__()
        self.whole = Client()
        self.cut = Client()
        self.bulk = Client()
        self.backlog = b""
        self.expected = b""

    @rule(request=_REQUESTS, data=st.data())
    def exchange(self, request: tuple[int, bytes], data: st.DataObject) -> None:
        octets = struct.pack(">I", request[0]) + request[1]
        answer = self.whole.receive(octets)
        pieces = b""
        while octets:
            taken = data.draw(st.integers(1, len(octets)))
            pieces += self.cut.receive(octets[:taken])
            octets = octets[taken:]
        assert pieces == answer
        if request[0] != 0x02:  # INIT demands a receive of its own
            self.backlog += struct.pack(">I", request[0]) + request[1]
            self.expected += answer
        else:
            self.flush()
            assert self.bulk.send(*request) == answer

    @rule()
    def flush(self) -> None:
        assert self.bulk.receive(self.backlog) == self.expected
        self.backlog = self.expected = b""

    @rule(code=st.sampled_from([0x14, 0x1000, 0x80010000]), trailing=st.binary(max_size=8))
    def garbage(self, code: int, trailing: bytes) -> None:
        self.flush()
        for client in (self.whole, self.cut, self.bulk):
            assert client.send(code, trailing) == BAD_ORDINAL

    @invariant()
    def same_effects(self) -> None:
        assert self.whole.host.calls == self.cut.host.calls
        assert self.whole.host.blobs == self.cut.host.blobs
        assert self.whole.host.locality == self.cut.host.locality
        assert not self.whole.parser.partial
        assert not self.cut.parser.partial


ControlMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestControlMachine = ControlMachine.TestCase


@given(st.lists(st.binary(min_size=1, max_size=64), max_size=20))
def test_arbitrary_octets_get_well_formed_answers(receives: list[bytes]) -> None:
    client = Client()
    for data in receives:
        for request in client.parser.feed(data):
            response = client._channel.answer(request)
            assert not response or len(response) >= 4

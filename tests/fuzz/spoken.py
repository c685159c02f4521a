"""What comes from clients, workers, key servers: refused with its layer's error, or understood."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from tests.fuzz.demand import demand
from tests.fuzz.octets import Octets
from tests.swtpm.fake_host import BUFFER_SIZES, FakeHost
from vtpmd.api import codec as reports
from vtpmd.api import http, schema
from vtpmd.api.errors import ClientError
from vtpmd.client import Client
from vtpmd.ipc.channel import MAX_FDS, Channel, ChannelClosedError, IllegalMessageError
from vtpmd.ipc.codec import UNKNOWN, Codec, MalformedMessageError
from vtpmd.ipc.messages import Event
from vtpmd.ipc.rules import CODEC, RULES, Side, State
from vtpmd.kms.kmip import operations
from vtpmd.kms.kmip import ttlv as ttlvs
from vtpmd.kms.kmip.messages import OperationFailedError, Request
from vtpmd.kms.pkcs11 import messages as children
from vtpmd.swtpm.control import ControlChannel
from vtpmd.swtpm.data import DataParser, bounded, judge, vendor_set_locality
from vtpmd.swtpm.parser import RequestParser
from vtpmd.swtpm.table import MAX_LOCALITY

QUESTIONS: tuple[Callable[[Client], schema.Report | bytes], ...] = (
    *(Client.list, Client.capabilities, Client.providers, Client.unlock_all),
    *(lambda client: client.info("a"), lambda client: client.pcrs("a")),
    *(lambda client: client.delete("a"), lambda client: client.rekey("a")),
    *(lambda client: client.rotate("a"), lambda client: client.backup("a")),
    lambda client: client.backup_keys("a", schema.BackupRequest(passphrase="p")),
    lambda client: client.import_keys("a", schema.KeyImportRequest(backup="", passphrase="p")),
)
"""What a client asks, by its number in an input."""
KMIP_REQUESTS: tuple[Request[Any], ...] = (
    *(operations.discover_versions(), operations.query(), operations.create("vtpmd-1", False)),
    *(operations.locate("vtpmd-1"), operations.get_state("17"), operations.get("17")),
    *(operations.activate("17"), operations.revoke("17"), operations.destroy("17")),
    operations.encrypt("17", bytes(32), bytes(12), b"aad"),
    operations.decrypt("17", bytes(48), bytes(12), b"aad"),
)
ENDS = (
    (Side.SUPERVISOR, State.NEW),
    (Side.SUPERVISOR, State.SERVING),
    (Side.WORKER, State.NEW),
    (Side.SUPERVISOR, State.WARMING),
    (Side.ZYGOTE, State.ZYGOTE),
    (Side.SUPERVISOR, State.STARTING),
    (Side.SUPERVISOR, State.ORDERED),
)
"""The roles and states in which a channel is met, by their number in an input."""


def message(data: bytes) -> None:
    """A message between supervisor and workers: read again, it is the same."""
    _round_trip(CODEC, data)


def child_request(data: bytes) -> None:
    """A request to the process with the PKCS #11 module."""
    _round_trip(children.REQUESTS, _framed_by_child(data))


def child_reply(data: bytes) -> None:
    """A reply of that process."""
    _round_trip(children.REPLIES, _framed_by_child(data))


def _framed_by_child(data: bytes) -> bytes:
    header, body = data[: children.HEADER.size], data[children.HEADER.size :]
    if len(header) < children.HEADER.size:
        return b""
    try:
        size = children.body_size(header)
    except MalformedMessageError:
        return b""
    assert size <= children.MAX_SIZE
    return body[:size]


def _round_trip(codec: Codec, data: bytes) -> None:
    try:
        read = codec.decode(data)
    except MalformedMessageError:
        return
    again = codec.encode(read)
    # A word that a newer version reports is read as one that may be longer.
    assert len(again) <= len(data) + len(UNKNOWN)
    assert codec.decode(again) == read


def channel(data: bytes) -> None:
    """Packets to one end of a channel: its table lets pass what is legal, and nothing leaks."""
    octets = Octets(data)
    side, state = octets.choice(ENDS)
    before = _descriptors()
    ours, theirs = Channel.pair()
    end = Channel(ours, side, state)
    end.set_blocking(False)
    try:
        with theirs:
            while octets and end.fileno() != -1:
                count, packet = octets.number() % (MAX_FDS + 2), octets.take(octets.number(2))
                if packet:
                    socket.send_fds(theirs, [packet], [theirs.fileno()] * count)
                    _receive(end, side)
    except ConnectionError:
        assert end.fileno() == -1
    end.close()
    assert _descriptors() == before


def _receive(end: Channel, side: Side) -> None:
    state = end.state
    try:
        read, fds = end.receive()
    except BlockingIOError:  # it was the greeting
        return
    except (IllegalMessageError, ChannelClosedError):
        assert end.fileno() == -1
        return
    for fd in fds:
        os.close(fd)
    rule = RULES[type(read)]
    assert rule.sender is not side
    assert state in rule.states
    assert len(fds) in rule.fds
    assert end.state is (rule.then or state)
    if isinstance(read, Event) and read.kind == "unknown-report":
        assert len(read.detail) <= 64


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def ttlv(data: bytes) -> None:
    """An item of KMIP: it encodes to the same octets, but for integers with leading octets."""
    try:
        item = ttlvs.decode(data)
    except ttlvs.TtlvError:
        return
    encoded = bytes(ttlvs.encode(item))
    assert encoded == data or any(each.type == ttlvs.Type.BIG_INTEGER for each in _items(item))
    assert ttlvs.decode(encoded) == item


def _items(item: ttlvs.Item) -> Iterator[ttlvs.Item]:
    yield item
    for field in item.fields if isinstance(item.value, tuple) else ():
        yield from _items(field)


def kmip_reply(data: bytes) -> None:
    """What a key server answers to each of the requests."""
    for request in KMIP_REQUESTS:
        try:
            result = request.result(data)
        except (ttlvs.TtlvError, OperationFailedError) as error:
            demand(len(str(error)) <= 4 * len(data) + 200)
            continue
        assert len(repr(result)) <= 16 * len(data) + 200


class _Answer:
    """A connection on which this has come, in pieces, and nothing more will."""

    def __init__(self, octets: bytes) -> None:
        self._left = octets

    def settimeout(self, _: float | None) -> None:
        """It never waits."""

    def recv(self, size: int) -> bytes:
        piece, self._left = self._left[: min(size, 100)], self._left[min(size, 100) :]
        return piece


def report(data: bytes) -> None:
    """An answer of the daemon as a client meets it: whole HTTP, behind the number of a question."""
    octets = Octets(data)
    ask = octets.choice(QUESTIONS)
    answer = octets.take(len(data))

    @contextmanager
    def sent(*_: object) -> Iterator[_Answer]:
        yield _Answer(answer)

    with mock.patch.object(http, "_sent", sent):
        try:
            read = ask(Client("/nowhere"))
        except ClientError as error:
            demand(bool(error.detail or error.document))
            return
    if isinstance(read, bytes):
        assert read in answer
    else:
        assert reports.decode(type(read), reports.encode_report(read)) == read


def data_descriptor(data: bytes) -> None:
    """Octets of a guest, on a descriptor that QEMU attached."""
    _data_channel(data, tcg_form=False)


def data_listener(data: bytes) -> None:
    """Octets of a client of swtpm's kind, on a data listener."""
    _data_channel(data, tcg_form=True)


def _data_channel(data: bytes, *, tcg_form: bool) -> None:
    """Each write has one answer at most; every octet is in a command, dropped or owed."""
    octets, parser = Octets(data), DataParser(tcg_form=tcg_form)
    smallest, largest = BUFFER_SIZES
    limit = smallest + octets.number(2) % (largest + 1 - smallest)
    received = taken = 0
    while octets:
        piece = octets.take(octets.number(2) % (largest + 64))
        late = octets.number() & 0x80
        received += len(piece)
        request = parser.feed(piece, limit)
        if request is None and late:
            request = parser.expire()
            assert not parser.unfinished
        if request is None:
            assert received - taken - parser.dropped < limit + 9
            continue
        assert not parser.unfinished
        assert tcg_form or not (request.tcg or request.tcg_locality)
        answer = judge(request, running=True)
        if request.error is None:
            taken += len(request.command) + 9 * request.tcg
            assert 10 <= len(request.command) <= limit
            assert int.from_bytes(request.command[2:6]) == len(request.command) or request.tcg
            vendor = vendor_set_locality(request.command, permitted=tcg_form)
            if answer is None and vendor is not None:
                answer = vendor.response
                assert vendor.locality is None or (tcg_form and vendor.locality <= MAX_LOCALITY)
        assert taken + parser.dropped == received
        framed = request.frame(bounded(bytes(limit + 1) if answer is None else answer, limit))
        size = int.from_bytes(framed[2:6] if not request.tcg else framed[6:10])
        assert size == 10 == len(framed) - 8 * request.tcg


def control(data: bytes) -> None:
    """A control channel never fails, whatever comes in whatever pieces."""
    octets, channel = Octets(data), _ControlChannel()
    while octets and not channel.closed:
        piece = octets.take(octets.number() + 1)
        answers = channel.receive(piece)
        assert not answers or len(answers) >= 4
        assert channel.host.locality <= channel.host.max_locality
        smallest, largest = BUFFER_SIZES
        assert smallest <= channel.host.buffer_size <= largest


class _ControlChannel:
    def __init__(self) -> None:
        self.host, self.closed = FakeHost(), False
        self._parser = RequestParser()
        self._channel = ControlChannel(self.host, lambda: self.host.calls.append("attach"))

    def receive(self, data: bytes) -> bytes:
        answers = b""
        for request in self._parser.feed(data):
            if self.closed:
                break
            answers += self._channel.answer(request)
            self.closed |= request.close
        return answers


TARGETS: tuple[Callable[[bytes], None], ...] = (
    *(message, channel, child_request, child_reply, ttlv, kmip_reply),
    *(report, data_descriptor, data_listener, control),
)

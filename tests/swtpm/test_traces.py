"""Replay what swtpm answered to the firmware of two real guests: ours answers the same."""

import os
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.swtpm.traces import Exchange, read
from tests.worker.harness import DEADLINE, Host, Zygote, connect

VECTORS = Path(
    os.environ.get("VTPMD_VECTORS", Path(__file__).resolve().parents[2] / "../shared/vectors")
)
pytestmark = pytest.mark.skipif(not VECTORS.is_dir(), reason="no test vectors here")

_SET_DATAFD = b"\0\0\0\x10"
_GET_CAPABILITY = b"\0\0\x01\x7a"
_CAP_PCRS, _CAP_PROPERTIES = b"\0\0\0\x05", b"\0\0\0\x06"


def _banks(request: bytes, swtpm: bytes) -> bytes:
    if struct.unpack_from(">I", swtpm, 15)[0] != 3:
        return swtpm
    longer = swtpm[:2] + struct.pack(">I", len(swtpm) + 6) + swtpm[6:15]
    return longer + struct.pack(">IHBBBB", 4, 4, 3, 0, 0, 0) + swtpm[19:]


def _property(request: bytes, swtpm: bytes) -> bytes:
    return swtpm[:-4] + _PROPERTIES.get(request[14:18].hex(), swtpm[-4:])


_PROPERTIES = {
    "00000105": b"VTPM",
    "0000010b": bytes.fromhex("00010000"),
    "0000010c": bytes(4),
}

Difference = tuple[str, Callable[[bytes], bool], Callable[[bytes, bytes], bytes]]
DIFFERENCES: list[Difference] = [
    (
        "one of the recorded libtpms was built without SHA-1; ours has it, without a PCR",
        lambda request: request[6:10] == _GET_CAPABILITY and request[10:14] == _CAP_PCRS,
        _banks,
    ),
    (
        "manufacturer and firmware version are ours",
        lambda request: request[6:10] == _GET_CAPABILITY and request[10:14] == _CAP_PROPERTIES,
        _property,
    ),
]


def _expected(exchange: Exchange) -> bytes:
    response = exchange.response
    if exchange.channel == "data":
        for _, applies, change in DIFFERENCES:
            if response[6:10] == bytes(4) and applies(exchange.request):
                response = change(exchange.request, response)
    return response


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    zygote = Zygote()
    yield zygote
    zygote.close()


@pytest.mark.parametrize(
    ("log", "banks"),
    [("win11-swtpm.log", ("sha256", "sha384", "sha512")), ("fedora38-swtpm.log", ("sha256",))],
)
def test_both_channels_answer_as_recorded(
    zygote: Zygote, tmp_path: Path, log: str, banks: tuple[str, ...]
) -> None:
    exchanges = read(VECTORS / "traces" / log)
    assert len(exchanges) > 50
    host = Host(zygote, tmp_path)
    try:
        host.manufacture(banks)
        host.serve()
        data, theirs = socket.socketpair()
        data.settimeout(DEADLINE)
        with connect(host.control_path) as control, data:
            for number, exchange in enumerate(exchanges):
                sock = control if exchange.channel == "control" else data
                if exchange.request == _SET_DATAFD:
                    socket.send_fds(sock, [exchange.request], [theirs.fileno()])
                    theirs.close()
                else:
                    sock.sendall(exchange.request)
                response = sock.recv(8192)
                assert response.hex() == _expected(exchange).hex(), f"exchange {number}"
    finally:
        host.close()

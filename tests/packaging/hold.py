"""A machine's part: holds a TPM and keeps it busy until SIGTERM, then says what it saw.

    python -m tests.packaging.hold SOCKET

Extends PCR 16 again and again, and has to find in the end what hashlib does. Prints one line;
exit status 1 when an answer was no success, or the value is another one.
"""

import hashlib
import signal
import struct
import sys
import time
from pathlib import Path

from tests.peers.client import STARTUP_CLEAR, Control, Data

PCR = 16
ALG_SHA256 = 0x000B
EMPTY_PASSWORD = bytes.fromhex("00000009 40000009 0000 00 0000")
PAUSE = 0.01


def main() -> None:
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: ended.append(number))
    with Control(Path(sys.argv[1])) as control:
        data = control.data_channel()
        control.power_on()
        _demand(data, STARTUP_CLEAR)
        value, count, longest = bytes(32), 0, 0.0
        print("holding", flush=True)
        while not ended:
            digest = hashlib.sha256(struct.pack(">I", count)).digest()
            began = time.monotonic()
            _demand(data, _extend(digest))
            longest = max(longest, time.monotonic() - began)
            value, count = hashlib.sha256(value + digest).digest(), count + 1
            time.sleep(PAUSE)
        if value not in _demand(data, _read()):
            sys.exit(f"PCR {PCR} is not what was extended into it")
        print(f"{count} commands, each answered; the longest took {longest * 1000:.0f} ms")


def _demand(data: Data, command: bytes) -> bytes:
    response = data.execute(command)
    if response[6:10] != bytes(4):
        sys.exit(f"{command.hex()} was answered {response.hex()}")
    return response


def _extend(digest: bytes) -> bytes:
    body = struct.pack(">I", PCR) + EMPTY_PASSWORD + struct.pack(">IH", 1, ALG_SHA256) + digest
    return struct.pack(">HII", 0x8002, 10 + len(body), 0x182) + body


def _read() -> bytes:
    body = struct.pack(">IHB", 1, ALG_SHA256, 3) + (1 << PCR).to_bytes(3, "little")
    return struct.pack(">HII", 0x8001, 10 + len(body), 0x17E) + body


if __name__ == "__main__":
    main()

"""What the firmware of web1's machine does while it boots: measure, and keep a log.

python -m tests.docs.measure FILE    extends web1's PCRs, and writes the event log to FILE
"""

import struct
import sys
from pathlib import Path

from tests.attest import made
from tests.peers.client import DataSocket

_PASSWORD = struct.pack(">IIHBH", 9, 0x40000009, 0, 0, 0)


def extend(pcr: int, digest: bytes) -> bytes:
    """TPM2_PCR_Extend of one digest in the SHA-256 bank."""
    body = struct.pack(">I", pcr) + _PASSWORD + struct.pack(">IH", 1, made.SHA256) + digest
    return struct.pack(">HII", 0x8002, 10 + len(body), 0x182) + body


def main() -> None:
    tpm = DataSocket(Path("/run/vtpmd/web1.sock"))
    events = made.boot()
    for event in events:
        if event.type != made.NO_ACTION:
            answer = tpm.execute(extend(event.pcr, event.digest(made.SHA256)))
            assert answer[6:10] == bytes(4), answer.hex()
    Path(sys.argv[1]).write_bytes(made.log(events))


if __name__ == "__main__":
    main()

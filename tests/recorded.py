"""Commands that others have recorded or made up, in the order in which they are stored.

They are not part of the repository: VTPMD_VECTORS says where they are, and whoever needs them has
to do without where they are not.
"""

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

VECTORS = Path(
    os.environ.get("VTPMD_VECTORS", Path(__file__).resolve().parents[1] / "../shared/vectors")
)
_COMMAND_PORT = 2321
_PACKET = 6


def corpus() -> list[bytes]:
    """What libtpms is fuzzed with: a command each.

    Without those that are cut short, for which a TPM behind a stream waits.
    """
    archive = VECTORS / "libtpms-commands.tar.xz"
    if not archive.exists():
        return []
    found = []
    with tarfile.open(archive) as files:
        for member in files:
            file = files.extractfile(member) if member.isfile() else None
            if file is not None:
                found.append((member.name, file.read()))
    return [octets for _, octets in sorted(found) if _is_whole(octets)]


def captures() -> dict[str, list[bytes]]:
    """The commands of each of the integration tests of tpm2-tss, by its name."""
    files = sorted((VECTORS / "tpmstream-pcaps").glob("*.pcap"))
    return {file.stem: list(_commands(file.read_bytes())) for file in files}


def _is_whole(command: bytes) -> bool:
    return len(command) >= 10 and int.from_bytes(command[2:6]) == len(command)


def _commands(capture: bytes) -> Iterator[bytes]:
    offset = 0
    while offset < len(capture):
        kind = int.from_bytes(capture[offset : offset + 4], "little")
        size = int.from_bytes(capture[offset + 4 : offset + 8], "little")
        if kind == _PACKET:
            captured = int.from_bytes(capture[offset + 20 : offset + 24], "little")
            packet = capture[offset + 28 : offset + 28 + captured]
            payload = packet[40:]
            if int.from_bytes(packet[22:24]) == _COMMAND_PORT and _is_whole(payload):
                yield payload
        offset += size

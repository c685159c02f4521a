"""Traffic that swtpm logged: requests and responses of both channels, in order."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_KINDS = {
    "Ctrl Cmd": ("control", "request"),
    "Ctrl Rsp": ("control", "response"),
    "SWTPM_IO_Read": ("data", "request"),
    "SWTPM_IO_Write": ("data", "response"),
}
_TITLE = re.compile(rf" ({'|'.join(_KINDS)}): length \d+")
_OCTETS = re.compile(r" ([0-9A-F]{2} )+")


@dataclass(frozen=True)
class Exchange:
    """One request and swtpm's response; `channel` is "control" or "data"."""

    channel: str
    request: bytes
    response: bytes


def read(path: Path) -> list[Exchange]:
    """The complete exchanges of a log; a request that the log ends with is left out."""
    exchanges: list[Exchange] = []
    waiting: dict[str, bytes] = {}
    for channel, role, octets in _messages(path):
        if role == "request":
            waiting[channel] = octets
        else:
            exchanges.append(Exchange(channel, waiting.pop(channel), octets))
    return exchanges


def _messages(path: Path) -> Iterator[tuple[str, str, bytes]]:
    kind, octets = None, bytearray()
    for line in [*path.read_text().splitlines(), ""]:
        if _OCTETS.fullmatch(line):
            octets += bytes.fromhex(line)
            continue
        if kind is not None:
            yield *kind, bytes(octets)
        title = _TITLE.fullmatch(line)
        kind, octets = (_KINDS[title[1]] if title else None), bytearray()

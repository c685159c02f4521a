"""What the guests said on their serial consoles, over all boots of a run."""

import base64
import gzip
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.guest.errors import GuestError
from tests.guest.eventlog import Pcrs

MARK = "@@ "


@dataclass
class Blob:
    """A file of the guest, sent as compressed base64 lines."""

    size: int
    md5: str
    lines: list[str] = field(default_factory=list)
    data: bytes = b""

    def finish(self) -> str | None:
        """Decode the lines; says what is wrong with them."""
        try:
            self.data = gzip.decompress(base64.b64decode("".join(self.lines)))
        except (ValueError, OSError, EOFError) as error:
            return f"damaged on the serial line: {error}"
        digest = hashlib.md5(self.data, usedforsecurity=False).hexdigest()
        if (len(self.data), digest) != (self.size, self.md5):
            return "size or MD5 is not what the guest said"
        return None


@dataclass
class Replay:
    """What comparing a boot's event log with its PCRs covered."""

    events: int
    banks: list[str]
    compared: int


@dataclass
class Boot:
    """One boot of the guest."""

    facts: dict[str, str] = field(default_factory=dict)
    pcrs: dict[str, Pcrs] = field(default_factory=dict)
    """By the tag of the set: "boot", "after"."""
    blobs: dict[str, Blob] = field(default_factory=dict)
    replay: Replay | None = None


@dataclass(frozen=True)
class Record:
    kind: str
    rest: str


class Results:
    """Collects the records of all boots, the problems found and a timeline."""

    def __init__(self, log: Path) -> None:
        self._log = log.open("wb")
        self._began = time.monotonic()
        self._pcrs: Pcrs = {}
        self._blob = Blob(0, "")
        self.passes: dict[str, list[str]] = {}
        """Seconds of each time the check passed, as the guest measured them."""
        self.failures: list[str] = []
        self.skips: list[str] = []
        self.problems: list[str] = []
        """What the host found wrong."""
        self.boots: list[Boot] = []
        self.timeline: list[tuple[float, str]] = []
        self.on_phase: Callable[[str], None] = lambda phase: None
        """Called when a guest reaches another phase of its life."""

    @property
    def boot(self) -> Boot:
        return self.boots[-1]

    @property
    def failed(self) -> bool:
        return bool(self.failures or self.problems)

    def elapsed(self) -> float:
        return round(time.monotonic() - self._began, 3)

    def note(self, text: str) -> None:
        self.timeline.append((self.elapsed(), text))

    def raw(self, data: bytes) -> None:
        """Keep what the console said."""
        self._log.write(data)
        self._log.flush()

    def close(self) -> None:
        self._log.close()

    def line(self, line: str) -> Record | None:
        """Take in one line of the console; its record, if it is one."""
        if "Linux version" in line:
            self.note("linux")
            self.on_phase("linux")
        if "Kernel panic" in line:
            raise GuestError(f"guest: {line.strip()}")
        _, mark, words = line.rstrip("\r\n").partition(MARK)
        if not mark:
            return None
        kind, _, rest = words.partition(" ")
        if kind == "start":
            self.note("guest " + words)
            self.boots.append(Boot())
            self.on_phase("userland")
        elif not self.boots:
            return None
        elif kind in ("wait", "done"):
            self.note("guest " + words)
            self.on_phase(words)
        else:
            self._take(kind, rest)
        return Record(kind, rest)

    def _take(self, kind: str, rest: str) -> None:
        match kind:
            case "pass":
                name, _, seconds = rest.partition(" ")
                self.passes.setdefault(name, []).append(seconds)
            case "fail":
                self.failures.append(rest)
            case "skip":
                self.skips.append(rest)
            case "kv":
                key, _, value = rest.partition(" ")
                self.boot.facts[key] = value
            case "pcrs":
                self._pcrs = self.boot.pcrs.setdefault(rest, {})
            case "pcr":
                bank, index, value = rest.split()
                self._pcrs.setdefault(bank, {})[int(index)] = bytes.fromhex(value)
            case "blob":
                name, size, md5 = rest.split()
                self._blob = self.boot.blobs[name] = Blob(int(size), md5)
            case "|":
                self._blob.lines.append(rest)
            case "endblob":
                if problem := self._blob.finish():
                    self.problems.append(f"{rest}: {problem}")

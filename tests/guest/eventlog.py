"""TCG event logs (binary_bios_measurements) and Linux's IMA list, replayed into PCR values.

    python -m tests.guest.eventlog LOG                   print the PCRs of every bank
    python -m tests.guest.eventlog --events LOG          print the events too
    python -m tests.guest.eventlog --pcrs FILE LOG       beside a TPM's: "BANK INDEX HEX" lines,
                                                         or what tpm2_pcrread prints
    python -m tests.guest.eventlog --check-digests LOG   also recompute the digests of events
                                                         whose data is what was measured

Reads crypto-agile (TCG 2.0) and SHA-1-only (TCG 1.2) logs. Exit status: 0 all well, 1 a
difference, 2 a log that cannot be read. Nothing of the daemon under test takes part in the
judgement.
"""

import argparse
import hashlib
import re
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

Pcrs = dict[str, dict[int, bytes]]
"""PCR values by bank and index."""

ALGORITHMS = {
    0x0004: "sha1",
    0x000B: "sha256",
    0x000C: "sha384",
    0x000D: "sha512",
    0x0027: "sha3_256",
    0x0028: "sha3_384",
    0x0029: "sha3_512",
}

EV_NO_ACTION = 0x00000003
EV_EVENT_TAG = 0x00000006
EV_S_CRTM_VERSION = 0x00000008
EV_EFI_VARIABLE_BOOT = 0x80000002
EVENTS = {
    0x00: "EV_PREBOOT_CERT",
    0x01: "EV_POST_CODE",
    0x03: "EV_NO_ACTION",
    0x04: "EV_SEPARATOR",
    0x05: "EV_ACTION",
    0x06: "EV_EVENT_TAG",
    0x07: "EV_S_CRTM_CONTENTS",
    0x08: "EV_S_CRTM_VERSION",
    0x09: "EV_CPU_MICROCODE",
    0x0A: "EV_PLATFORM_CONFIG_FLAGS",
    0x0B: "EV_TABLE_OF_DEVICES",
    0x0C: "EV_COMPACT_HASH",
    0x0D: "EV_IPL",
    0x0E: "EV_IPL_PARTITION_DATA",
    0x0F: "EV_NONHOST_CODE",
    0x10: "EV_NONHOST_CONFIG",
    0x11: "EV_NONHOST_INFO",
    0x12: "EV_OMIT_BOOT_DEVICE_EVENTS",
    0x80000001: "EV_EFI_VARIABLE_DRIVER_CONFIG",
    0x80000002: "EV_EFI_VARIABLE_BOOT",
    0x80000003: "EV_EFI_BOOT_SERVICES_APPLICATION",
    0x80000004: "EV_EFI_BOOT_SERVICES_DRIVER",
    0x80000005: "EV_EFI_RUNTIME_SERVICES_DRIVER",
    0x80000006: "EV_EFI_GPT_EVENT",
    0x80000007: "EV_EFI_ACTION",
    0x80000008: "EV_EFI_PLATFORM_FIRMWARE_BLOB",
    0x80000009: "EV_EFI_HANDOFF_TABLES",
    0x8000000A: "EV_EFI_PLATFORM_FIRMWARE_BLOB2",
    0x8000000B: "EV_EFI_HANDOFF_TABLES2",
    0x8000000C: "EV_EFI_VARIABLE_BOOT2",
    0x80000010: "EV_EFI_HCRTM_EVENT",
    0x800000E0: "EV_EFI_VARIABLE_AUTHORITY",
    0x800000E1: "EV_EFI_SPDM_FIRMWARE_BLOB",
    0x800000E2: "EV_EFI_SPDM_FIRMWARE_CONFIG",
}
MEASURED_DATA = {0x04, 0x05, 0x08, 0x80000001, 0x80000002, 0x80000006, 0x80000007, 0x800000E0}
"""Events whose digest is, by specification, the hash of the event's data (for
EV_EFI_VARIABLE_BOOT: of the variable's value alone)."""

VARIABLES = {0x80000001, EV_EFI_VARIABLE_BOOT, 0x8000000C, 0x800000E0}
FIRMWARE_BLOBS = {0x80000008, 0x8000000A}


class LogError(ValueError):
    """The log cannot be read."""


@dataclass(frozen=True)
class Event:
    pcr: int
    type: int
    digests: dict[str, bytes]
    data: bytes


@dataclass(frozen=True)
class Log:
    banks: dict[str, int]
    """Digest size by bank."""
    events: list[Event]


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.position = data, 0

    def take(self, size: int) -> bytes:
        if self.position + size > len(self.data):
            raise LogError(f"log ends in the middle of an event (offset {self.position})")
        self.position += size
        return self.data[self.position - size : self.position]

    def u16(self) -> int:
        return int.from_bytes(self.take(2), "little")

    def u32(self) -> int:
        return int.from_bytes(self.take(4), "little")

    @property
    def more(self) -> bool:
        return self.position < len(self.data)

    def sha1_event(self) -> Event:
        """An event in the format of TCG 1.2."""
        pcr, kind, sha1 = self.u32(), self.u32(), self.take(20)
        return Event(pcr, kind, {"sha1": sha1}, self.take(self.u32()))


def parse(data: bytes) -> Log:
    """The log's banks and events; LogError when it is damaged."""
    reader = _Reader(data)
    # The first event always has the old format; in a crypto-agile log it is the
    # "Spec ID Event03" that says which banks the following ones carry.
    first = reader.sha1_event()
    if first.type == EV_NO_ACTION and first.data.startswith(b"Spec ID Event03\0"):
        return _parse_agile(reader, first)
    events, event = [], first
    while (event.pcr, event.type, event.data) != (0, 0, b""):
        events.append(event)
        if not reader.more:
            break
        event = reader.sha1_event()
    return Log({"sha1": 20}, events)


def _parse_agile(reader: _Reader, first: Event) -> Log:
    specification = _Reader(first.data)
    specification.take(24)  # signature, class, minor, major, errata, size of UINTN
    banks = {}
    for _ in range(specification.u32()):
        algorithm, size = specification.u16(), specification.u16()
        banks[algorithm] = (ALGORITHMS.get(algorithm, f"alg_{algorithm:04x}"), size)
    events = [Event(first.pcr, first.type, {}, first.data)]
    while reader.more:
        pcr, kind = reader.u32(), reader.u32()
        digests = {}
        for _ in range(reader.u32()):
            algorithm = reader.u16()
            if algorithm not in banks:
                raise LogError(f"event with unannounced digest algorithm 0x{algorithm:04x}")
            name, size = banks[algorithm]
            digests[name] = reader.take(size)
        data = reader.take(reader.u32())
        # The log's area may be longer than the log: zeroes, or ones, follow it.
        if (pcr, kind, data, digests) == (0, 0, b"", {}):
            break
        if pcr == 0xFFFFFFFF and kind != EV_NO_ACTION:
            break
        events.append(Event(pcr, kind, digests, data))
    return Log(dict(banks.values()), events)


def extend(bank: str, value: bytes, digest: bytes) -> bytes:
    return hashlib.new(bank, value + digest).digest()


def replay(log: Log) -> Pcrs:
    """The values of the PCRs that the log's events extend."""
    startup_locality = 0
    for event in log.events:
        if event.type == EV_NO_ACTION and event.data.startswith(b"StartupLocality\0"):
            startup_locality = event.data[16]
    pcrs: Pcrs = {bank: {} for bank in log.banks}
    for event in log.events:
        if event.type == EV_NO_ACTION:  # never extended
            continue
        for bank, digest in event.digests.items():
            start = startup_locality if event.pcr == 0 else 0
            initial = start.to_bytes(log.banks[bank], "big")
            pcrs[bank][event.pcr] = extend(bank, pcrs[bank].get(event.pcr, initial), digest)
    return pcrs


def replay_ima(data: bytes, bank: str, *, padded: bool = False) -> dict[int, bytes]:
    """The PCRs (mostly 10) that Linux's list binary_runtime_measurements extends.

    The list has SHA-1 digests; for another bank the kernel extends with that bank's hash of the
    entry, or, where it lacks the algorithm, with the SHA-1 digest padded with zeroes (padded).
    """
    reader = _Reader(data)
    pcrs: dict[int, bytes] = {}
    size = hashlib.new(bank).digest_size
    while reader.more:
        pcr, sha1 = reader.u32(), reader.take(20)
        reader.take(reader.u32())  # the template's name
        template = reader.take(reader.u32())
        if bank == "sha1" or padded:
            digest = sha1.ljust(size, b"\0")
        else:
            digest = hashlib.new(bank, template).digest()
        pcrs[pcr] = extend(bank, pcrs.get(pcr, bytes(size)), digest)
    return pcrs


def wrong_digests(log: Log) -> list[tuple[int, str]]:
    """Event number and bank of the digests that should be the hash of their data and are not."""
    wrong = []
    for number, event in enumerate(log.events):
        if event.type not in MEASURED_DATA:
            continue
        candidates = [event.data]
        if event.type == EV_EFI_VARIABLE_BOOT and (named := variable(event.data)):
            candidates.append(named[1])
        for bank, digest in event.digests.items():
            if digest not in [hashlib.new(bank, c).digest() for c in candidates]:
                wrong.append((number, bank))
    return wrong


def variable(data: bytes) -> tuple[str, bytes] | None:
    """Name and value in a UEFI_VARIABLE_DATA structure."""
    if len(data) < 32:
        return None
    characters, size = struct.unpack_from("<QQ", data, 16)
    end = 32 + 2 * characters
    if end + size > len(data):
        return None
    return data[32:end].decode("utf-16-le", "replace"), data[end : end + size]


def compare(replayed: Pcrs, actual: Pcrs) -> list[str]:
    """The differences in the banks and PCRs that both know, a sentence each."""
    return [
        f"{bank} PCR {index}: log gives {value.hex()}, TPM has {actual[bank][index].hex()}"
        for bank in sorted(replayed.keys() & actual.keys())
        for index, value in sorted(replayed[bank].items())
        if actual[bank].get(index, value) != value
    ]


def describe(event: Event) -> str:
    """A short readable form of an event's data."""
    data = event.data
    if event.type in VARIABLES and (named := variable(data)):
        return f"{named[0]} ({len(named[1])} bytes)"
    if event.type == EV_S_CRTM_VERSION:
        return data.decode("utf-16-le", "replace").rstrip("\0") or f"{len(data)} bytes"
    if event.type in FIRMWARE_BLOBS and len(data) >= 16:
        base, length = struct.unpack_from("<QQ", data, len(data) - 16)
        return f"base 0x{base:x} length 0x{length:x}"
    if event.type == EV_EVENT_TAG and len(data) >= 8:
        tag, size = struct.unpack_from("<II", data)
        return f"tag 0x{tag:08x} {_printable(data[8 : 8 + size])}"
    return _printable(data)


def _printable(data: bytes) -> str:
    if len(data) >= 4 and not data[1::2].strip(b"\0"):
        data = data[::2]
    text = data.rstrip(b"\0")
    if text and all(32 <= c < 127 for c in text):
        return text.decode()[:100]
    return data[:24].hex() + ("..." if len(data) > 24 else "")


def read_pcrs(text: str) -> Pcrs:
    """PCR values from "BANK INDEX HEX" lines or from tpm2_pcrread's output."""
    pcrs: Pcrs = {}
    bank = ""
    for line in text.splitlines():
        if m := re.match(r"\s*(?:@@ pcr )?(\w+) +(\d+) +(?:0x)?([0-9A-Fa-f]{40,})\s*$", line):
            pcrs.setdefault(m[1], {})[int(m[2])] = bytes.fromhex(m[3])
        elif m := re.match(r"\s*(\d+)\s*: 0x([0-9A-Fa-f]{40,})\s*$", line):
            pcrs.setdefault(bank, {})[int(m[1])] = bytes.fromhex(m[2])
        elif m := re.match(r"\s*(\w+):", line):
            bank = m[1]
    return pcrs


def _verdict(value: bytes, actual: Pcrs, bank: str, index: int) -> str:
    if index not in actual.get(bank, {}):
        return ""
    return "  equal" if actual[bank][index] == value else f"  TPM: 0x{actual[bank][index].hex()}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="eventlog", description="Replay a TCG event log.")
    parser.add_argument("log", type=Path)
    parser.add_argument("--events", action="store_true", help="print the events too")
    parser.add_argument("--pcrs", type=Path, metavar="FILE", help="compare with these values")
    parser.add_argument("--check-digests", action="store_true", help="recompute digests of data")
    arguments = parser.parse_args()
    try:
        log = parse(arguments.log.read_bytes())
    except (LogError, OSError) as error:
        print(f"eventlog: {error}", file=sys.stderr)
        return 2
    pcrs = replay(log)
    if arguments.events:
        for number, event in enumerate(log.events):
            kind = EVENTS.get(event.type, f"0x{event.type:08x}")
            print(f"{number:3} PCR {event.pcr:<2} {kind:34} {describe(event)}")
    actual = read_pcrs(arguments.pcrs.read_text()) if arguments.pcrs else {}
    for bank in log.banks:
        print(f"{bank}:")
        for index, value in sorted(pcrs[bank].items()):
            print(f"  {index:<2}: 0x{value.hex().upper()}{_verdict(value, actual, bank, index)}")
    problems = []
    if arguments.check_digests:
        problems += [
            f"event {number}: its {bank} digest is not that of its data"
            for number, bank in wrong_digests(log)
        ]
    if arguments.pcrs:
        if not actual.keys() & pcrs.keys():
            problems.append("no bank in common to compare")
        problems += compare(pcrs, actual)
    for problem in problems:
        print(f"eventlog: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

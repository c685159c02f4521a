"""The judge itself: event logs with known PCR values, and logs that must be refused."""

import hashlib
import os
import struct
from pathlib import Path

import pytest

from tests.guest import eventlog

ROOT = Path(__file__).resolve().parents[2]
VECTORS = Path(os.environ.get("VTPMD_VECTORS", ROOT.parent / "shared/vectors"))
PUBLISHED = sorted((VECTORS / "tpm2-tools").glob("event*.bin"))

SPECIFICATION = (
    b"Spec ID Event03\0" + bytes(8) + struct.pack("<IHHHH", 2, 0x0004, 20, 0x000B, 32) + b"\0"
)


def agile(*events: tuple[int, int, bytes]) -> bytes:
    """A crypto-agile log of (PCR, type, data), each event with the digests of its data."""
    log = struct.pack("<II20sI", 0, eventlog.EV_NO_ACTION, b"", len(SPECIFICATION)) + SPECIFICATION
    for pcr, kind, data in events:
        log += struct.pack("<III", pcr, kind, 2)
        log += struct.pack("<H", 0x0004) + hashlib.sha1(data).digest()
        log += struct.pack("<H", 0x000B) + hashlib.sha256(data).digest()
        log += struct.pack("<I", len(data)) + data
    return log


@pytest.mark.skipif(not PUBLISHED, reason="the published vectors are not here")
@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_published_logs_lead_to_their_published_values(path: Path) -> None:
    expected = path.with_name(path.name + ".yaml").read_text().partition("\npcrs:\n")[2]
    assert eventlog.replay(eventlog.parse(path.read_bytes())) == eventlog.read_pcrs(expected)


def test_events_are_extended_in_their_order_and_no_action_is_not() -> None:
    log = eventlog.parse(agile((7, 4, b"one"), (7, eventlog.EV_NO_ACTION, b"x"), (7, 4, b"two")))
    value = bytes(32)
    for data in (b"one", b"two"):
        value = hashlib.sha256(value + hashlib.sha256(data).digest()).digest()
    pcrs = eventlog.replay(log)
    assert pcrs["sha256"] == {7: value}
    assert pcrs["sha1"].keys() == {7}


def test_pcr_0_starts_from_the_startup_locality() -> None:
    locality = (0, eventlog.EV_NO_ACTION, b"StartupLocality\0\x03")
    log = eventlog.parse(agile(locality, (0, 8, b"version")))
    initial = bytes(31) + b"\x03"
    expected = hashlib.sha256(initial + hashlib.sha256(b"version").digest()).digest()
    assert eventlog.replay(log)["sha256"][0] == expected


def test_what_follows_the_log_is_not_part_of_it() -> None:
    log = agile((7, 4, b"one"))
    assert eventlog.parse(log + bytes(100)) == eventlog.parse(log)


@pytest.mark.parametrize("length", [10, 33, 60, 100, 130])
def test_a_log_that_ends_within_an_event_is_refused(length: int) -> None:
    with pytest.raises(eventlog.LogError, match="middle of an event"):
        eventlog.parse(agile((7, 4, b"one"), (7, 4, b"two"))[:length])


def test_a_digest_that_is_not_of_its_data_is_found() -> None:
    log = agile((7, 4, b"good"), (7, 4, b"evil"))
    assert eventlog.wrong_digests(eventlog.parse(log)) == []
    changed = eventlog.parse(log.replace(b"evil", b"nice"))
    assert eventlog.wrong_digests(changed) == [(2, "sha1"), (2, "sha256")]


def test_differences_are_told_for_what_both_know() -> None:
    ours = {"sha256": {0: b"\x01", 1: b"\x02"}, "sha1": {0: b"\x03"}}
    theirs = {"sha256": {0: b"\x01", 1: b"\xff", 2: b"\x04"}}
    assert eventlog.compare(ours, theirs) == ["sha256 PCR 1: log gives 02, TPM has ff"]
    assert eventlog.compare(ours, ours) == []

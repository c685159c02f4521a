"""Logs as octets: what is read, what is refused, and that nothing takes long."""

import struct
import time
from random import Random

import pytest

from tests.attest import made
from tests.attest.made import SHA1, SHA256, SHA384, Event
from vtpmd.attest import report
from vtpmd.attest.errors import MalformedError
from vtpmd.attest.eventlog.log import MAX_EVENTS, MAX_SIZE, Log, parse_log
from vtpmd.attest.eventlog.replay import replay

EVENTS = made.boot()


def content(log: Log) -> list[tuple[int, int, bytes]]:
    return [(event.pcr, event.type, event.data) for event in log.events if event.measured]


@pytest.mark.parametrize("algs", [(SHA256,), (SHA1, SHA256), (SHA1, SHA256, SHA384)])
def test_a_crypto_agile_log(algs: tuple[int, ...]) -> None:
    log = parse_log(made.log(EVENTS, algs))
    assert content(log) == [(event.pcr, event.type, event.data) for event in EVENTS]
    assert tuple(log.banks) == algs
    for alg in algs:
        values = replay(log, [alg])[alg]
        assert {index: values[index] for index in made.replayed(EVENTS)} == made.replayed(
            EVENTS, alg
        )


def test_a_log_of_tcg_1_2() -> None:
    log = parse_log(made.old_log(EVENTS))
    assert content(log) == [(event.pcr, event.type, event.data) for event in EVENTS]
    values = replay(log, [SHA1, SHA256])
    assert set(values) == {SHA1}
    assert values[SHA1][7] == made.replayed(EVENTS, SHA1)[7]


def test_pcrs_that_nothing_has_extended() -> None:
    values = replay(parse_log(made.log([])), [SHA256])[SHA256]
    for index, value in values.items():
        assert value == (b"\xff" if index in range(17, 23) else b"\0") * 32
    dynamic = replay(parse_log(made.log([Event(17, 0x400, b"x")])), [SHA256])[SHA256]
    assert dynamic[17] == made.replayed([Event(17, 0x400, b"x")])[17]


@pytest.mark.parametrize("locality", [0, 3, 4])
def test_pcr_0_begins_with_the_startup_locality(locality: int) -> None:
    told = Event(0, made.NO_ACTION, b"StartupLocality\0" + bytes([locality]))
    log = parse_log(made.log([told, *EVENTS]))
    assert replay(log, [SHA256])[SHA256][0] == made.replayed(EVENTS, start=locality)[0]


def test_an_h_crtm_begins_at_locality_4() -> None:
    events = [Event(0, made.HCRTM, b"HCRTM"), *EVENTS]
    assert (
        replay(parse_log(made.log(events)), [SHA256])[SHA256][0]
        == (made.replayed(events, start=4)[0])
    )


def test_two_startup_localities_are_refused() -> None:
    told = [Event(0, made.NO_ACTION, b"StartupLocality\0" + bytes([each])) for each in (0, 3)]
    with pytest.raises(MalformedError):
        parse_log(made.log(told))


@pytest.mark.parametrize("octets", [made.log(EVENTS), made.old_log(EVENTS)], ids=["agile", "old"])
@pytest.mark.parametrize("fill", [b"\0", b"\xff"])
@pytest.mark.parametrize("size", [1, 11, 12, 13, 4096])
def test_the_area_may_be_longer_than_the_log(octets: bytes, fill: bytes, size: int) -> None:
    assert parse_log(octets + fill * size) == parse_log(octets)


@pytest.mark.parametrize("octets", [made.log(EVENTS), made.old_log(EVENTS)], ids=["agile", "old"])
def test_nothing_may_follow_the_end(octets: bytes) -> None:
    with pytest.raises(MalformedError, match="follows the log's end"):
        parse_log(octets + bytes(100) + b"\1")


@pytest.mark.parametrize("octets", [made.log(EVENTS), made.old_log(EVENTS)], ids=["agile", "old"])
def test_a_log_that_is_cut_is_refused_or_one_event_shorter(octets: bytes) -> None:
    whole = parse_log(octets)
    for end in range(len(octets)):
        try:
            cut = parse_log(octets[:end])
        except MalformedError:
            continue
        assert cut.events == whole.events[: len(cut.events)]
        assert len(cut.events) < len(whole.events)


def agile(*octets: bytes, algs: tuple[int, ...] = (SHA256,)) -> bytes:
    return made.first(algs) + b"".join(octets)


def event2(
    pcr: int = 0, kind: int = 1, digests: bytes | None = None, count: int = 1, size: int = 0
) -> bytes:
    own = struct.pack("<H", SHA256) + bytes(32) if digests is None else digests
    return struct.pack("<III", pcr, kind, count) + own + struct.pack("<I", size)


def announced(banks: bytes, count: int) -> bytes:
    data = b"Spec ID Event03\0" + bytes(8) + struct.pack("<I", count) + banks + b"\0"
    return struct.pack("<II20sI", 0, made.NO_ACTION, bytes(20), len(data)) + data


BANK = struct.pack("<HH", SHA256, 32)
HUGE = 0xFFFFFFFF
REFUSED = {
    "empty": b"",
    "size of 2^32": agile(event2(size=HUGE)),
    "size of 2^31": agile(event2(size=1 << 31)),
    "one octet too few": agile(event2(size=1)),
    "2^32 digests": agile(event2(count=HUGE)),
    "two digests of one bank": agile(
        event2(count=2, digests=(struct.pack("<H", SHA256) + bytes(32)) * 2),
        algs=(SHA256, SHA384),
    ),
    "a bank not announced": agile(event2(digests=struct.pack("<H", SHA384) + bytes(48))),
    "no digest": agile(event2(count=0, digests=b"")),
    "a digest missing": agile(event2(), algs=(SHA256, SHA384)),
    "PCR 24": agile(event2(pcr=24)),
    "PCR 2^32-1 measured": agile(event2(pcr=HUGE)),
    "old size of 2^32": struct.pack("<II20sI", 0, 1, bytes(20), HUGE),
    "old and short": bytes(31) + b"\1",
    "no banks": announced(b"", 0),
    "2^32 banks": announced(BANK, HUGE),
    "nine banks": announced(b"".join(struct.pack("<HH", each, 32) for each in range(9)), 9),
    "banks cut off": announced(b"", 1),
    "a bank twice": announced(BANK * 2, 2),
    "a bank of a wrong size": announced(struct.pack("<HH", SHA256, 20), 1),
    "a bank of no size": announced(struct.pack("<HH", 0x99, 0), 1),
    "a bank of 64 KiB": announced(struct.pack("<HH", 0x99, 0xFFFF), 1),
    "first event alone cut": made.first((SHA256,))[:-1],
    "64 MiB of events": made.log(EVENTS * 2) + bytes(64 << 20),
    "64 MiB of ones": b"\xff" * (64 << 20),
    "too many events": agile(event2() * MAX_EVENTS),
}


@pytest.mark.parametrize("octets", REFUSED.values(), ids=REFUSED)
def test_what_no_firmware_writes_is_refused_at_once(octets: bytes) -> None:
    began = time.process_time()
    with pytest.raises(MalformedError):
        parse_log(octets)
    assert time.process_time() - began < 1


def test_the_largest_logs_are_judged_within_a_second() -> None:
    """As many events as there may be, and as many octets, with all that is told of them."""
    most = agile(event2(kind=made.AUTHORITY) * (MAX_EVENTS - 1))
    room = MAX_SIZE - len(agile(event2()))
    largest = agile(event2(kind=made.IPL, size=room) + b": " * (room // 2) + bytes(room % 2))
    for octets in (most, largest):
        began = time.process_time()
        report.log_document(parse_log(octets))
        assert time.process_time() - began < 1


def test_an_unknown_bank_is_passed_over() -> None:
    banks = BANK + struct.pack("<HH", 0x12, 32)
    digests = struct.pack("<H", SHA256) + bytes(32) + struct.pack("<H", 0x12) + bytes(32)
    log = parse_log(announced(banks, 2) + event2(count=2, digests=digests))
    assert set(replay(log, log.banks)) == {SHA256}
    assert report.log_document(log)["banks"] == ["sha256", "0x0012"]


def test_changed_octets_raise_nothing_else() -> None:
    random = Random(1)
    logs = [made.log(EVENTS, (SHA1, SHA256)), made.old_log(EVENTS)]
    read = 0
    for _ in range(1000):
        changed = bytearray(random.choice(logs))
        for _ in range(random.choice((1, 1, 2, 8))):
            changed[random.randrange(len(changed))] = random.choice(
                (0, 0xFF, random.randrange(256))
            )
        try:
            log = parse_log(bytes(changed))
        except MalformedError:
            continue
        report.log_document(log)
        read += 1
    assert read > 300

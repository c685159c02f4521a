"""Quotes and logs of real machines: accepted as they are, refused with anything changed."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from tests.attest import vectors
from tests.attest.vectors import Recorded, present, taken_apart
from vtpmd.attest import report
from vtpmd.attest.allowed import BANKS
from vtpmd.attest.eventlog.log import parse_log
from vtpmd.attest.eventlog.replay import replay
from vtpmd.attest.quote import parse_quote
from vtpmd.attest.trust import AttestationKey
from vtpmd.attest.verdict import Outcome, Status, Verdict
from vtpmd.attest.verify import Demands, Evidence, verify_quote

QUOTES = vectors.quotes()
LOGS = vectors.logs()
MOST_FLIPS = 400
EV_NO_ACTION = 3

every_quote = pytest.mark.parametrize("quote", QUOTES.values(), ids=QUOTES)
every_log = pytest.mark.parametrize("path", LOGS, ids=lambda path: path.stem)
pytestmark = present


def judged(quote: Recorded, nonce: bytes | None = None) -> Verdict:
    """The verdict, where the Name of the key is known if it has one."""
    ak = AttestationKey.read(quote.key)
    if ak.key.name is not None:
        ak = ak.named(ak.key.name)
    given = Evidence(quote.message, quote.signature, quote.pcrs, quote.log)
    nonce = quote.nonce if nonce is None else nonce
    demands = Demands(nonce, allow_sha1=True, unlogged=quote.unlogged)
    return verify_quote(given, ak, demands)


def test_they_are_all_there() -> None:
    assert len(QUOTES) == 9
    assert len(LOGS) == 14


@every_quote
def test_a_genuine_quote_is_accepted(quote: Recorded) -> None:
    """A key in PEM is nobody's: all but that is as it should be."""
    verdict = judged(quote)
    failed = [check.name for check in verdict.checks if check.outcome is Outcome.FAILED]
    assert failed == (["ak"] if quote.key.startswith(b"-----") else []), verdict.decisive
    assert (verdict.boot is not None) is (quote.log is not None)


@every_quote
def test_flipped_bits_of_a_message(quote: Recorded) -> None:
    for message in sampled_flips(quote.message):
        assert judged(replace(quote, message=message)).status is Status.SIGNATURE


@every_quote
def test_flipped_bits_of_a_signature(quote: Recorded) -> None:
    for signature in sampled_flips(quote.signature):
        status = judged(replace(quote, signature=signature)).status
        assert status in (Status.SIGNATURE, Status.MALFORMED)


def sampled_flips(octets: bytes) -> list[bytes]:
    """Octets with one bit changed: all or a sample, the same each time."""
    bits = Random(1).sample(range(8 * len(octets)), min(MOST_FLIPS, 8 * len(octets)))
    numbers = (int.from_bytes(octets) ^ 1 << bit for bit in bits)
    return [number.to_bytes(len(octets)) for number in numbers]


@every_quote
def test_cuts(quote: Recorded) -> None:
    for end in range(len(quote.signature)):
        cut = replace(quote, signature=quote.signature[:end])
        assert judged(cut).status is Status.MALFORMED
    for end in range(len(quote.message)):
        assert judged(replace(quote, message=quote.message[:end])).status is Status.SIGNATURE


@every_quote
def test_another_nonce(quote: Recorded) -> None:
    assert judged(quote, b"another").status is Status.NONCE


@every_quote
def test_other_values(quote: Recorded) -> None:
    if quote.pcrs.startswith(b"{"):
        changed = quote.pcrs.replace(b"00", b"01", 1)
    else:
        changed = quote.pcrs[:-1] + bytes([quote.pcrs[-1] ^ 1])
    assert judged(replace(quote, pcrs=changed)).status is Status.PCR_DIGEST


WITH_LOGS = {name: quote for name, quote in QUOTES.items() if quote.log is not None}


def logs_changed(quote: Recorded) -> Iterator[bytes]:
    """Each measured event of a quoted PCR dropped, changed, or exchanged with one of its PCR."""
    assert quote.log is not None
    quoted = parse_quote(quote.message)
    ((alg, indices),) = quoted.selection
    head, events = taken_apart(quote.log)
    measured = [
        at
        for at, event in enumerate(events)
        if event.type != EV_NO_ACTION and event.pcr in set(indices) - quote.unlogged
    ]
    whole = [event.octets for event in events]
    assert head + b"".join(whole) == quote.log
    for number, at in enumerate(measured):
        first = events[at].digests[alg]
        flipped = bytearray(whole[at])
        flipped[first.start] ^= 1
        yield head + b"".join([*whole[:at], *whole[at + 1 :]])
        yield head + b"".join([*whole[:at], bytes(flipped), *whole[at + 1 :]])
        for other in measured[number + 1 :]:
            second = events[other].digests[alg]
            if events[at].pcr != events[other].pcr or whole[at][first] == whole[other][second]:
                continue
            exchanged = list(whole)
            exchanged[at], exchanged[other] = whole[other], whole[at]
            yield head + b"".join(exchanged)


@pytest.mark.parametrize("quote", WITH_LOGS.values(), ids=WITH_LOGS)
def test_a_log_of_which_any_event_was_changed(quote: Recorded) -> None:
    tried = 0
    for log in logs_changed(quote):
        assert judged(replace(quote, log=log)).status is Status.LOG
        tried += 1
    assert tried > 50


@every_log
def test_a_log_is_read_and_makes_the_values_that_go_with_it(path: Path) -> None:
    log = parse_log(path.read_bytes())
    values = replay(log, log.banks)
    for bank, expected in vectors.expected(path).items():
        found = values[BANKS[bank]]
        assert {index: found[index] for index in expected} == expected
    document = report.log_document(log)
    assert [event["digest"] for event in document["events"]].count(
        "should cover its data, and does not"
    ) == 0


SECURE_BOOT = {
    "crypto_agile_eventlog": False,
    "ebs_event_missing_eventlog": False,
    "option_rom_eventlog": True,
    "sb_cert_eventlog": True,
    "short_no_action_eventlog": None,
    "arch-linux-workstation": False,
    "eventlogwithsp800155": True,
    "ubuntu-2104-no-secure-boot": False,
    "ubuntu-2404-amd-sevsnp": False,
    "event-arch-linux": False,
    "event-bootorder": False,
    "event-moklisttrusted": True,
    "event-sd-boot-fedora37": False,
    "event-uefi-sha1-log": False,
}


@every_log
def test_secure_boot_of_real_machines(path: Path) -> None:
    boot = report.log_document(parse_log(path.read_bytes()))["boot"]
    assert boot["secure_boot"]["enabled"] is SECURE_BOOT[path.stem]


def test_command_lines_of_real_machines() -> None:
    found = {
        path.stem: report.log_document(parse_log(path.read_bytes()))["boot"]["cmdlines"]
        for path in LOGS
    }
    assert found["event-sd-boot-fedora37"] == [" console=ttyS0 console=tty0 efi=debug "]
    (grub,) = found["ubuntu-2404-amd-sevsnp"]
    assert grub.startswith("/vmlinuz-6.8.0-1010-gcp root=PARTUUID=8270f3c9")

"""A log beside a quote: genuine if it makes the values, refused if anything was done to it."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.attest import made
from tests.attest.made import NONCE, SHA256, Event, Machine
from tests.attest.test_quotes import GOOD, evidence, judged
from vtpmd.attest.verdict import Status
from vtpmd.attest.verify import Demands, Evidence

EVENTS = GOOD.events
BY_NUMBER = list(enumerate(EVENTS))
values = pytest.mark.parametrize("values", [GOOD.bare_values, None], ids=["values", "log alone"])


def status(events: list[Event], pcrs: bytes | None) -> Status:
    message, signature = GOOD.quote()
    verdict = judged(Evidence(message, signature, pcrs, made.log(events)))
    assert (verdict.boot is not None) is (verdict.status is Status.GENUINE)
    return verdict.status


@values
def test_the_log_that_makes_them(values: bytes | None) -> None:
    assert status(EVENTS, values) is Status.GENUINE


@values
def test_every_event_that_is_dropped(values: bytes | None) -> None:
    for number, _ in BY_NUMBER:
        assert status(EVENTS[:number] + EVENTS[number + 1 :], values) is Status.LOG


@values
def test_every_event_whose_digest_is_changed(values: bytes | None) -> None:
    for number, event in BY_NUMBER:
        changed = replace(event, measured=b"something else")
        assert status([*EVENTS[:number], changed, *EVENTS[number + 1 :]], values) is Status.LOG


@values
def test_every_event_that_comes_twice(values: bytes | None) -> None:
    for number, event in BY_NUMBER:
        assert status([*EVENTS[:number], event, *EVENTS[number:]], values) is Status.LOG


def exchanges() -> Iterator[tuple[int, int]]:
    for one, first in BY_NUMBER:
        for other, second in BY_NUMBER[one + 1 :]:
            if first.pcr == second.pcr and first.digest(SHA256) != second.digest(SHA256):
                yield one, other


@values
def test_every_event_exchanged_with_another_of_its_pcr(values: bytes | None) -> None:
    tried = 0
    for one, other in exchanges():
        events = list(EVENTS)
        events[one], events[other] = events[other], events[one]
        assert status(events, values) is Status.LOG
        tried += 1
    assert tried > 20


@values
def test_every_event_moved_to_another_pcr(values: bytes | None) -> None:
    for number, event in BY_NUMBER:
        moved = replace(event, pcr=(event.pcr + 1) % 10)
        assert status([*EVENTS[:number], moved, *EVENTS[number + 1 :]], values) is Status.LOG


@values
def test_every_event_that_is_said_to_extend_nothing(values: bytes | None) -> None:
    for number, event in BY_NUMBER:
        hidden = replace(event, type=made.NO_ACTION)
        assert status([*EVENTS[:number], hidden, *EVENTS[number + 1 :]], values) is Status.LOG


@values
def test_data_that_were_changed_after_they_were_measured(values: bytes | None) -> None:
    for number, event in BY_NUMBER:
        if event.type in (made.DRIVER_CONFIG, made.ACTION, made.AUTHORITY, made.SEPARATOR):
            changed = replace(event, data=b"\xff" + event.data[1:], measured=event.data)
            events = [*EVENTS[:number], changed, *EVENTS[number + 1 :]]
            assert status(events, values) is Status.LOG


@values
def test_order_among_pcrs_does_not_matter(values: bytes | None) -> None:
    assert status(sorted(EVENTS, key=lambda event: event.pcr), values) is Status.GENUINE


def test_a_log_that_is_none() -> None:
    message, signature = GOOD.quote()
    for octets in (b"", b"\1", GOOD.log[:-1]):
        assert judged(Evidence(message, signature, None, octets)).status is Status.MALFORMED


def test_a_log_without_the_bank() -> None:
    message, signature = GOOD.quote()
    for pcrs in (GOOD.bare_values, None):
        given = Evidence(message, signature, pcrs, made.old_log(EVENTS))
        assert judged(given).status is Status.LOG


def quoted(extended: dict[int, bytes]) -> Evidence:
    """A quote of which the log does not make these values."""
    all_values = {SHA256: GOOD.values[SHA256] | extended}
    message = made.quote(all_values)
    signature = made.signature(GOOD.private, message)
    return Evidence(message, signature, made.selected(all_values), GOOD.log)


@pytest.mark.parametrize("index", [7, 8, 11, 15])
def test_a_pcr_that_the_log_does_not_explain(index: int) -> None:
    given = quoted({index: b"\x5e" * 32})
    verdict = judged(given)
    assert verdict.status is Status.LOG
    assert verdict.decisive is not None
    assert f"PCR {index} of sha256 differs first" in verdict.decisive.detail
    allowed = judged(given, demands=Demands(NONCE, unlogged=frozenset({index})))
    assert allowed.status is Status.GENUINE
    assert allowed.boot is not None
    assert (allowed.boot.secure_boot.enabled is None) is (index == 7)
    assert (allowed.boot.command_lines == ()) is (index == 8)


def test_pcr_10_has_a_list_of_its_own() -> None:
    """Which the verifier has to say: a log whose one event of PCR 10 was dropped looks alike."""
    given = quoted({10: b"\x5e" * 32})
    verdict = judged(given)
    assert verdict.status is Status.LOG
    assert verdict.decisive is not None
    assert "--unlogged 10" in verdict.decisive.detail
    said = Demands(NONCE, unlogged=frozenset({10}))
    assert judged(given, demands=said).status is Status.GENUINE
    assert judged(replace(given, pcrs=None), demands=said).status is Status.LOG


@values
def test_the_only_event_of_a_pcr_dropped(values: bytes | None) -> None:
    machine = Machine(events=[*EVENTS, Event(10, made.IPL, b"x")])
    given = evidence(machine)
    given = replace(given, pcrs=None if values is None else given.pcrs)
    assert judged(given).status is Status.GENUINE
    assert judged(replace(given, log=made.log(EVENTS))).status is Status.LOG


def test_nothing_is_told_of_pcrs_that_are_not_quoted() -> None:
    some = {SHA256: {0: GOOD.values[SHA256][0]}}
    message = made.quote(some)
    given = Evidence(message, made.signature(GOOD.private, message), None, GOOD.log)
    verdict = judged(given)
    assert verdict.status is Status.GENUINE
    assert verdict.boot is not None
    assert verdict.boot.firmware_version == "edk2 1"
    assert verdict.boot.secure_boot.enabled is None
    assert (verdict.boot.applications, verdict.boot.command_lines) == (None, ())


def test_facts_are_of_the_bank_that_is_quoted() -> None:
    """Data that only the digest of a bank cover that is not quoted prove nothing."""
    both = Machine(algs=(made.SHA1, SHA256))
    off = replace(EVENTS[2], data=made.variable(made.GLOBAL, "SecureBoot", b"\0"))
    events = [*EVENTS[:2], off, *EVENTS[3:]]
    forged = made.first(both.algs) + b"".join(
        made.event(lie, both.algs).replace(lie.digest(SHA256), truth.digest(SHA256))
        for lie, truth in zip(events, EVENTS, strict=True)
    )
    message, signature = GOOD.quote()
    assert judged(Evidence(message, signature, None, both.log)).status is Status.GENUINE
    assert judged(Evidence(message, signature, None, forged)).status is Status.LOG
    # As if SHA-1 had been broken: where both banks are quoted, the stronger one is asked.
    values = {made.SHA1: made.replayed(events, made.SHA1), SHA256: GOOD.values[SHA256]}
    broken = made.quote(values)
    given = Evidence(broken, made.signature(GOOD.private, broken), None, forged)
    assert judged(given, demands=Demands(NONCE, allow_sha1=True)).status is Status.LOG

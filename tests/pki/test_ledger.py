"""The ledger: what it knows after a crash, and what it refuses."""

import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.pki.foreign import REPORTED
from vtpmd.pki.entries import (
    Entry,
    Given,
    Known,
    Refused,
    Revoked,
    decode,
    decode_all,
    encode,
    fingerprint,
)
from vtpmd.pki.errors import ConflictError, DamagedError
from vtpmd.pki.ledger import NAME, Ledger
from vtpmd.storage.errors import StorageError

ONE, OTHER = UUID(int=1), UUID(int=2)
SEED, KEY = bytes(32), b"a key"
WHEN = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
KNOWN = Known(
    identity=ONE, seed=SEED, keys={"rsa-2048": KEY}, reported=REPORTED, how="made", time=WHEN
)
GIVEN = Given(
    identity=ONE,
    seed=SEED,
    kind="rsa-2048",
    key=fingerprint(KEY),
    serial="1f",
    issuer="ab",
    source="own",
    not_after=WHEN,
    digest=bytes(32),
    time=WHEN,
)
REVOKED = Revoked(serial="1f", issuer="ab", reason="superseded", time=WHEN)
REFUSED = Refused(digest=GIVEN.digest, time=WHEN)
ENTRIES: list[Entry] = [KNOWN, GIVEN, REVOKED]


def by_hand(entry: Entry) -> bytes:
    """A line as somebody writes it who can't compute its check."""
    content = json.loads(encode(entry))
    del content["check"]
    return json.dumps(content).encode() + b"\n"


def test_what_was_written_is_known_again(dir_fd: int) -> None:
    Ledger(dir_fd).append(ENTRIES)
    ledger = Ledger(dir_fd)
    assert ledger.find(ONE, SEED) == KNOWN
    assert ledger.find(OTHER, SEED) is ledger.find(ONE, bytes(31)) is None
    assert (ledger.given(), ledger.given(OTHER)) == ([GIVEN], [])
    assert ledger.revocation(GIVEN) == REVOKED
    assert (ledger.revoked("ab"), ledger.revoked("cd")) == ([REVOKED], [])
    assert ledger.entries(ONE) == ENTRIES
    assert ledger.entries(OTHER) == []
    assert os.stat(NAME, dir_fd=dir_fd).st_mode & 0o777 == 0o600


def test_a_certificate_is_refused_until_it_is_given_again(dir_fd: int) -> None:
    ledger, again = Ledger(dir_fd), replace(GIVEN, time=WHEN + timedelta(days=1))
    for entry, refused in ((GIVEN, False), (REFUSED, True), (again, False)):
        ledger.append([entry])
        assert ledger.was_refused(GIVEN) is Ledger(dir_fd).was_refused(GIVEN) is refused
    assert ledger.given() == [GIVEN, again]


def test_every_crash_of_a_write_leaves_whole_entries(dir_fd: int, tmp_path: Path) -> None:
    file = tmp_path / NAME
    Ledger(dir_fd).append([KNOWN])
    before = file.read_bytes()
    Ledger(dir_fd).append([GIVEN, REVOKED])
    whole = file.read_bytes()
    ends = [len(before), len(before) + len(encode(GIVEN)), len(whole)]
    for cut in range(len(before), len(whole) + 1):
        file.write_bytes(whole[:cut])
        ledger = Ledger(dir_fd)
        count = max(index for index, end in enumerate(ends) if end <= cut)
        assert ledger.entries(ONE) == ENTRIES[: 1 + count]
        assert file.read_bytes() == whole[: ends[count]]
        ledger.append([REVOKED])
        assert Ledger(dir_fd).revoked() == [REVOKED]


def test_no_line_is_written_that_could_not_be_read_again(dir_fd: int) -> None:
    """The ledger would be refused as a whole from then on."""
    ledger = Ledger(dir_fd)
    for long in (
        replace(KNOWN, names={"rsa-2048": bytes(50_000)}),
        replace(KNOWN, reported=replace(REPORTED, family="ö" * 30_000)),
    ):
        with pytest.raises(DamagedError, match="longer than"):
            ledger.append([GIVEN, long])
    assert os.stat(NAME, dir_fd=dir_fd).st_size == 0
    ledger.append(ENTRIES)
    assert Ledger(dir_fd).entries(ONE) == ENTRIES


@pytest.mark.parametrize(
    "change", [{"identity": 5}, {"keys": []}, {"keys": {"rsa-2048": 1}}, {"reported": []}]
)
def test_a_line_with_a_value_of_another_type(change: dict[str, object]) -> None:
    line = json.dumps(json.loads(encode(KNOWN)) | change).encode()
    with pytest.raises(DamagedError):
        decode(line, "ledger")


@pytest.mark.parametrize(
    "reported",
    [{"level": -1}, {"revision": -1}, {"family": "2" * 200}],
)
def test_what_no_certificate_can_say(reported: dict[str, Any]) -> None:
    REPORTED.demand_encodable()
    with pytest.raises(ValueError):
        replace(REPORTED, **reported).demand_encodable()


def test_a_key_has_one_identity_for_ever(dir_fd: int) -> None:
    Ledger(dir_fd).append([KNOWN])
    ledger = Ledger(dir_fd)
    size = os.stat(NAME, dir_fd=dir_fd).st_size
    taken = Known(identity=OTHER, seed=SEED, keys={"x": KEY}, reported=REPORTED, how="trusted")
    given = replace(GIVEN, identity=OTHER)
    refused: list[list[Entry]] = [[taken], [given], [REVOKED, given]]
    for entries in refused:
        with pytest.raises(ConflictError, match=str(ONE)):
            ledger.append(entries)
    assert os.stat(NAME, dir_fd=dir_fd).st_size == size
    assert ledger.revoked() == []
    ledger.append([KNOWN, GIVEN])  # the same identity may have another certificate


def test_a_failed_write_adds_nothing(
    dir_fd: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(dir_fd)
    ledger.append([KNOWN])
    before = (tmp_path / NAME).read_bytes()

    def fail(fd: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(StorageError, match="cannot write ledger"):
            ledger.append([GIVEN])
    assert (tmp_path / NAME).read_bytes() == before
    assert ledger.given() == []


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{}\n", "line 2: it names no version"),
        (b"[]\n", "names no version"),
        (b"nonsense\n", "not JSON"),
        (b"[" * 9999 + b"\n", "not JSON"),
        (b'{"version":2,"type":"tpm"}\n', "written by a newer vtpmd"),
        (b'{"version":1,"type":"other"}\n', "no kind of entry"),
        (b'{"version":1,"type":"tpm"}\n', "TypeError"),
        (by_hand(KNOWN).replace(b'"made"', b'"guessed"'), "guessed"),
        (by_hand(KNOWN).replace(str(ONE).encode(), b"x"), "ValueError"),
        (by_hand(REVOKED).replace(b"+00:00", b""), "time zone"),
        (encode(REVOKED).replace(b"1f", b"2f"), "line 2: it was changed after it was written"),
        (b" " * (65 << 10) + b"\n", "longer than"),
    ],
)
def test_what_is_not_understood_refuses_all(
    dir_fd: int, tmp_path: Path, line: bytes, reason: str
) -> None:
    (tmp_path / NAME).touch(0o600)
    content = encode(KNOWN) + line + encode(GIVEN)
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(DamagedError, match=reason):
        Ledger(dir_fd)
    assert (tmp_path / NAME).read_bytes() == content


def test_no_flipped_bit_goes_unnoticed(dir_fd: int, tmp_path: Path) -> None:
    """It is refused, or in a place that says nothing; the file stays as it is."""
    file = tmp_path / NAME
    Ledger(dir_fd).append(ENTRIES)
    whole = file.read_bytes()
    harmless = 0
    for bit in range(8 * len(whole)):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        file.write_bytes(changed)
        try:
            ledger = Ledger(dir_fd)
        except DamagedError:
            pass
        else:
            assert ledger.entries(ONE) == ENTRIES
            harmless += 1
        assert file.read_bytes() == changed
    assert harmless <= 8 * len(ENTRIES) * len(b',"check":"')


def test_a_line_written_by_hand_needs_no_check() -> None:
    line = by_hand(GIVEN)
    assert b"check" not in line
    assert decode(line, "here") == GIVEN


def test_unknown_fields_are_ignored() -> None:
    line = by_hand(GIVEN).replace(b'"type"', b'"later":[1],"type"')
    assert decode(line, "here") == GIVEN
    assert decode_all(encode(KNOWN) + encode(GIVEN), "there") == [KNOWN, GIVEN]


def test_a_ledger_of_others_is_refused(dir_fd: int, tmp_path: Path) -> None:
    (tmp_path / NAME).touch(0o600)
    (tmp_path / NAME).chmod(0o666)
    with pytest.raises(StorageError, match="0666"):
        Ledger(dir_fd)

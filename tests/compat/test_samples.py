"""Golden octets: written as ever, and read also with a field more or less. See README.md."""

import dataclasses
import json
import os
from pathlib import Path

import cbor2
import pytest

from tests.api.samples import REQUESTS
from tests.compat.samples import (
    ANCHOR,
    ANCHOR_FILE,
    AUTHORITY,
    AUTHORITY_DEK,
    CONDITION,
    CONDITION_FILE,
    ENTRIES,
    HERE,
    LEASE,
    LEASE_FILE,
    LEDGER,
    MESSAGES,
    META,
    METADATA,
    UUID_B,
    golden,
    state_fields,
)
from vtpmd.api import schema
from vtpmd.ipc.codec import MalformedMessageError
from vtpmd.ipc.messages import Message
from vtpmd.ipc.rules import CODEC, RULES
from vtpmd.pki import store
from vtpmd.pki.entries import decode, decode_all, encode
from vtpmd.storage.anchor import Anchor
from vtpmd.supervisor import condition_file
from vtpmd.supervisor.lease import Lease
from vtpmd.supervisor.metadata import Metadata
from vtpmd.tpm.facts import state_format

NEEDED = {
    schema.CreateRequest: {"name"},
    schema.CloneRequest: {"name"},
    schema.RenameRequest: {"name"},
    schema.SnapshotRestoreRequest: {"snapshot"},
    schema.SnapshotDeleteRequest: {"snapshot"},
    schema.BackupRequest: {"passphrase"},
    schema.BackupNote: {"key_versions"},
    schema.KeyImportRequest: {"backup", "passphrase"},
    schema.EkImportRequest: {"files"},
    schema.CaRevokeRequest: {"subject"},
    schema.CaImportRequest: {"file", "chain"},
}
"""What a request has to say. A field that is added later has a default, or older clients fail."""

every_sample = pytest.mark.parametrize(("name", "message"), MESSAGES.items(), ids=MESSAGES)


def octets(name: str) -> bytes:
    return bytes.fromhex(golden(name).read_text())


@pytest.mark.parametrize("kind", RULES, ids=lambda kind: kind.__name__)
def test_the_samples_of_a_kind_show_all_its_fields(kind: type) -> None:
    shown: set[str] = set()
    for name, message in MESSAGES.items():
        if type(message) is kind:
            shown |= cbor2.loads(octets(name)).keys()
    assert shown == {"type", *(field.name for field in dataclasses.fields(kind))}


def test_no_sample_is_forgotten() -> None:
    assert {path.stem for path in (HERE / "messages").iterdir()} == MESSAGES.keys()


@every_sample
def test_a_message_is_written_and_read_as_ever(name: str, message: Message) -> None:
    assert CODEC.encode(message) == octets(name)
    assert CODEC.decode(octets(name)) == message


@every_sample
def test_a_field_more_is_ignored_in_a_report_and_refused_in_an_order(
    name: str, message: Message
) -> None:
    more = cbor2.dumps({**cbor2.loads(octets(name)), "later": {"a": [1]}}, canonical=True)
    if RULES[type(message)].is_report:
        assert CODEC.decode(more) == message
    else:
        with pytest.raises(MalformedMessageError, match="has no field 'later'"):
            CODEC.decode(more)


@every_sample
def test_a_field_less_has_its_default_or_is_refused_by_name(name: str, message: Message) -> None:
    for field in dataclasses.fields(message):
        content = cbor2.loads(octets(name))
        content.pop(field.name, None)
        less = cbor2.dumps(content, canonical=True)
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        if default is dataclasses.MISSING:
            with pytest.raises(MalformedMessageError, match=rf"\.{field.name} is missing"):
                CODEC.decode(less)
        else:
            expected = dataclasses.replace(message, **{field.name: default})
            assert CODEC.decode(less) == expected


def test_the_sample_of_metadata_shows_all_its_fields() -> None:
    """A default would not tell whether it was read."""
    for field in dataclasses.fields(Metadata):
        assert getattr(METADATA, field.name) != field.default


def test_metadata_is_written_and_read_as_ever() -> None:
    assert METADATA.encode() == META.read_bytes()
    assert Metadata.decode(META.read_bytes()) == METADATA
    more = json.loads(META.read_bytes()) | {"later": {"a": [1]}}
    assert Metadata.decode(json.dumps(more).encode()) == METADATA


def test_a_condition_is_written_and_read_as_ever() -> None:
    assert condition_file.encode(CONDITION) == CONDITION_FILE.read_bytes()
    assert condition_file.decode(CONDITION_FILE.read_bytes()) == CONDITION
    more = json.loads(CONDITION_FILE.read_bytes()) | {"later": {"a": [1]}}
    assert condition_file.decode(json.dumps(more).encode()) == CONDITION


def test_an_anchor_is_written_and_read_as_ever() -> None:
    assert ANCHOR.encode() == ANCHOR_FILE.read_bytes()
    content = json.loads(ANCHOR_FILE.read_bytes())
    assert Anchor.decode(json.dumps(content | {"later": 1}).encode()) == ANCHOR
    less = {name: value for name, value in content.items() if name not in ("accepted", "told")}
    assert Anchor.decode(json.dumps(less).encode()) == Anchor(ANCHOR.newest, ANCHOR.seen)


def test_a_lease_is_written_and_read_as_ever() -> None:
    assert LEASE.encode() == LEASE_FILE.read_bytes()
    more = json.loads(LEASE_FILE.read_bytes()) | {"later": 1}
    assert Lease.decode(json.dumps(more).encode()) == LEASE


def test_the_ledger_is_written_and_read_as_ever() -> None:
    assert b"".join(map(encode, ENTRIES)) == LEDGER.read_bytes()
    assert decode_all(LEDGER.read_bytes(), "ledger") == list(ENTRIES)
    shown = {field.name for entry in ENTRIES for field in dataclasses.fields(entry)}
    defaults = {"names": {}, "reason": "unspecified"}
    for line, entry in zip(LEDGER.read_bytes().splitlines(), ENTRIES, strict=True):
        content = json.loads(line)
        shown -= content.keys()
        less = {name: value for name, value in content.items() if name not in defaults}
        expected = {name: value for name, value in defaults.items() if hasattr(entry, name)}
        read = decode(json.dumps(less | {"later": [1]}).encode(), "ledger")
        assert read == dataclasses.replace(entry, **expected)  # type: ignore[arg-type]
    assert shown == set()


def test_an_authority_is_read_as_ever(tmp_path: Path) -> None:
    (tmp_path / "authority").touch(0o600)
    (tmp_path / "authority").write_bytes(AUTHORITY.read_bytes())
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        stored = store.load(directory)
    finally:
        os.close(directory)
    assert stored is not None
    assert (stored.public.uuid, stored.public.requested) == (UUID_B, True)
    assert stored.unseal(AUTHORITY_DEK).request


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda kind: kind.__name__)
def test_a_request_needs_no_more_than_ever(request_: type[schema.Request]) -> None:
    missing = dataclasses.MISSING
    needed = {
        field.name
        for field in dataclasses.fields(request_)
        if field.default is missing and field.default_factory is missing
    }
    assert needed == NEEDED.get(request_, set())


def test_fields_of_a_state_that_were_written_once_are_read() -> None:
    """One that has another name now would keep every TPM that is asleep or moves from going on."""
    written, now = state_fields(), state_format()
    gone = written - {*now.fields, *now.retired}
    assert gone == set(), "a field that is gone is listed in RETIRED of vtpmd/tpm/schema"
    assert set(now.fields) - written == set(), "python -m tests.compat.samples"

"""meta.json: written and read back, also what other versions have written, and nothing else."""

import json
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtpmd.storage.header import Header
from vtpmd.supervisor.metadata import Metadata, MetadataError, valid_name

SAMPLE = Metadata(
    name="web1",
    uuid=UUID("7d1f2b30-8f2e-4a55-9a7c-0123456789ab"),
    created=datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC),
    provider="local",
    profile="default-v1",
    pcr_banks=("sha256", "sha384"),
    data_socket=False,
    autostart=True,
    identity=UUID("7d1f2b30-8f2e-4a55-9a7c-0123456789ab"),
    owner="alice:kvm",
    mode="0600",
    handover="away",
    handover_generation=3,
    incoming=True,
    labels=(("tier", "web"),),
    made_for="a1:b2",
)


def changed(**changes: Any) -> bytes:
    return json.dumps(json.loads(SAMPLE.encode()) | changes).encode()


def test_what_is_written_is_read_back() -> None:
    assert Metadata.decode(SAMPLE.encode()) == SAMPLE
    assert json.loads(SAMPLE.encode())["pcr_banks"] == ["sha256", "sha384"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not JSON"),
        (b"[" * 100_000, "larger than"),
        (b"[" * 10_000, "not JSON"),
        (b"[]", "no object"),
        (b"{}", "does not have format 1"),
        (changed(format=2), "format 2, written by a newer vtpmd"),
        (changed(format=2, name=7, uuid=None), "format 2, written by a newer vtpmd"),
        (changed(format="1"), "does not have format 1"),
        (changed(format=True), "does not have format 1"),
        (changed(format=1.0), "does not have format 1"),
        (changed(name=1), "name: not a printable text"),
        (changed(name="../x"), "name: not an instance name"),
        (changed(name=str(UUID(int=1))), "name is the UUID of another instance"),
        (changed(name=UUID(int=1).hex), "name is the UUID of another instance"),
        (changed(name=f"urn:uuid:{UUID(int=1)}"), "name is the UUID of another instance"),
        (changed(provider="x\n"), "provider: not a printable text"),
        (changed(provider="x" * 1025), "provider: not a printable text of up to 1024"),
        (changed(autostart=1), "autostart: neither true nor false"),
        (changed(handover="gone"), "handover: none of ours, lent, away"),
        (changed(handover_generation=-1), "handover_generation: not a count"),
        (changed(handover_generation=True), "handover_generation: not a count"),
        (changed(owner=107), "owner: not a printable text"),
        (changed(owner="a\x1b"), "owner: not a printable text"),
        (changed(mode=432), "mode: not a printable text"),
        (changed(mode="4777"), "mode: not an octal mode"),
        (changed(mode="0668"), "mode: not an octal mode"),
        (changed(pcr_banks=[1]), "pcr_banks: not a printable text"),
        (changed(pcr_banks="sha256"), "pcr_banks: not a list"),
        (changed(pcr_banks=["sha256"] * 17), "pcr_banks: not a list of up to 16"),
        (changed(uuid="x"), "uuid: "),
        (changed(uuid=7), "uuid: "),
        (changed(created="x"), "created: "),
        (changed(created="2026-01-01T00:00:00"), "created: a time without time zone"),
    ],
)
def test_anything_else_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(MetadataError, match=reason):
        Metadata.decode(data)


def without(name: str) -> bytes:
    content = json.loads(SAMPLE.encode())
    del content[name]
    return json.dumps(content).encode()


@pytest.mark.parametrize("name", [field.name for field in fields(SAMPLE)])
def test_a_missing_field_has_its_default_or_is_refused_by_name(name: str) -> None:
    defaults = {
        "data_socket": False,
        "autostart": False,
        "owner": None,
        "mode": None,
        "handover": "ours",
        "handover_generation": 0,
        "incoming": False,
        "labels": (),
        "made_for": "",
    }
    if name in defaults:
        assert Metadata.decode(without(name)) == replace(
            SAMPLE,
            **{name: defaults[name]},  # type: ignore[arg-type]
        )
    else:
        with pytest.raises(MetadataError, match=f"{name} is missing"):
            Metadata.decode(without(name))


def test_what_is_not_known_in_a_file_of_this_format_is_ignored() -> None:
    more = changed(purpose="mail", limits={"nvram": [1, None]})
    assert Metadata.decode(more) == SAMPLE
    assert json.loads(Metadata.decode(more).encode()) == json.loads(SAMPLE.encode())


def test_the_format_comes_first() -> None:
    assert next(iter(json.loads(SAMPLE.encode()))) == "format"


def test_an_instance_may_have_its_own_uuid_for_a_name() -> None:
    named = replace(SAMPLE, name=str(SAMPLE.uuid))
    assert Metadata.decode(named.encode()) == named


@given(st.binary(max_size=200) | st.recursive(st.none(), st.lists).map(json.dumps).map(str.encode))
def test_garbage_raises_nothing_else(data: bytes) -> None:
    with pytest.raises(MetadataError):
        Metadata.decode(data)


@pytest.mark.parametrize("name", ["web1", "a", "A.b_c:d@e-f", "x" * 64, str(SAMPLE.uuid)])
def test_names_that_are_permitted(name: str) -> None:
    assert valid_name(name)


@pytest.mark.parametrize(
    "name",
    ["", "x" * 65, ".x", "-x", "a/b", "a b", "a,b", "ä", "a\n", "admin", "a'b", "..", "a\\b"],
)
def test_names_that_are_not(name: str) -> None:
    assert not valid_name(name)


def test_what_is_remembered_holds_for_older_state_only() -> None:
    older, same = (Header(SAMPLE.uuid, generation, "permanent", bytes(16)) for generation in (2, 3))
    assert SAMPLE.remembered(older) == "away"
    assert SAMPLE.remembered(same) == "ours"

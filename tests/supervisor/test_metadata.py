"""meta.json: written and read back, and strictly read."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
        (b"[]", "no object"),
        (changed(format=2), "newer vtpmd"),
        (changed(format="1"), "fields of format 1"),
        (changed(more=1), "fields of format 1"),
        (changed(name=1), "name has the wrong type"),
        (changed(name="../x"), "not an instance name"),
        (changed(autostart=1), "autostart has the wrong type"),
        (changed(pcr_banks=[1]), "pcr_banks has the wrong type"),
        (changed(uuid="x"), "UUID"),
        (changed(created="x"), "isoformat"),
        (changed(created="2026-01-01T00:00:00"), "no time zone"),
    ],
)
def test_anything_else_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(MetadataError, match=reason):
        Metadata.decode(data)


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

"""A keyring is read back exactly, and refused whole when anything in it is off."""

import hashlib
from dataclasses import asdict, replace
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtpmd.kms.local.keyring import KekVersion, Keyring, KeyringError, parse

OLD = KekVersion("00", 1, "retired", b"o" * 32)
NEW = KekVersion("11", 2, "active", b"n" * 32)
KEYRING = Keyring((OLD, NEW))


def encoded(keks: list[dict[str, Any]], version: object = 1) -> bytes:
    """The file format written down once more, checksum included."""
    content = {"format": version, "keks": keks}
    checksum = hashlib.sha256(cbor2.dumps(content, canonical=True)).digest()
    return cbor2.dumps({**content, "checksum": checksum}, canonical=True)


def test_encoding_is_the_documented_one() -> None:
    assert KEYRING.encode() == encoded([asdict(OLD), asdict(NEW)])
    assert parse(KEYRING.encode()) == KEYRING


def test_rotation_retires_what_was_active_and_loses_nothing() -> None:
    rotated = KEYRING.rotated(now=3)
    assert rotated.versions[:2] == (OLD, replace(NEW, state="retired"))
    assert rotated.active == rotated.versions[2]
    assert rotated.active.created == 3
    assert rotated.active.key not in (OLD.key, NEW.key)
    assert rotated.find("11") == replace(NEW, state="retired")
    assert rotated.find("22") is None
    assert parse(rotated.encode()) == rotated


@given(st.integers(0, len(KEYRING.encode()) * 8 - 1))
def test_any_flipped_bit_is_refused(position: int) -> None:
    damaged = bytearray(KEYRING.encode())
    damaged[position // 8] ^= 1 << position % 8
    with pytest.raises(KeyringError):
        parse(bytes(damaged))


def test_keyring_truncated_anywhere_is_refused() -> None:
    data = KEYRING.encode()
    for size in range(len(data)):
        with pytest.raises(KeyringError, match="damaged"):
            parse(data[:size])


def test_newer_keyring_is_refused_as_such() -> None:
    with pytest.raises(KeyringError, match="format version 2, this vtpmd reads 1"):
        parse(encoded([], version=2))


@pytest.mark.parametrize(
    "keks",
    [
        pytest.param([], id="none"),
        pytest.param([asdict(OLD)], id="none active"),
        pytest.param([asdict(NEW), {**asdict(NEW), "id": "22"}], id="two active"),
        pytest.param([asdict(NEW), {**asdict(OLD), "id": "11"}], id="same id"),
        pytest.param([{**asdict(NEW), "key": b"short"}], id="short key"),
        pytest.param([{**asdict(NEW), "state": "lost"}], id="unknown state"),
        pytest.param([{**asdict(NEW), "created": -1}], id="before 1970"),
        pytest.param([{**asdict(NEW), "more": 1}], id="unknown field"),
    ],
)
def test_keyring_that_makes_no_sense_is_refused(keks: list[dict[str, Any]]) -> None:
    with pytest.raises(KeyringError, match="damaged"):
        parse(encoded(keks))


@pytest.mark.parametrize("version", [0, -1, True, 1.0, "1", None])
def test_version_that_is_no_version_is_damage(version: object) -> None:
    with pytest.raises(KeyringError, match="damaged"):
        parse(encoded([asdict(NEW)], version))


def test_no_key_shows() -> None:
    shown = repr(KEYRING)
    assert "nnnn" not in shown
    assert "oooo" not in shown

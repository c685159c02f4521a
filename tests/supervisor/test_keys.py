"""The key of a state is found wherever it is, and no other key is taken for it."""

import json
import os
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from vtpmd.kms.local.provider import LocalProvider
from vtpmd.kms.provider import KeyContext
from vtpmd.storage.envelope import Envelope, Header, parse, seal
from vtpmd.storage.errors import EnvelopeError
from vtpmd.storage.slot import Slot
from vtpmd.supervisor.errors import KeyMissingError
from vtpmd.supervisor.keys import Keys
from vtpmd.telemetry.audit import Audit

VM = UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
DEK_ID = bytes(range(16))
CONTEXT = KeyContext(VM, DEK_ID)
DEK = b"0123456789abcdef" * 2


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    """Two providers; the audit log is the file `audit`."""
    providers = {name: LocalProvider(name, tmp_path / name) for name in ("main", "spare")}
    return Keys(providers, "main", "spare", Audit(tmp_path / "audit"))


async def slot_of(keys: Keys, provider: str, dek: bytes) -> Slot:
    slot = await keys.choose(provider).wrap(dek, CONTEXT)
    return replace(slot, purpose="primary" if provider == "main" else "recovery")


def sealed(*slots: Slot) -> Envelope:
    return parse(seal(DEK, Header(VM, 1, "permanent", DEK_ID), slots, b"state"))


async def test_a_slot_with_another_key_is_passed_over(keys: Keys) -> None:
    await keys.initialise()
    wrong, right = await slot_of(keys, "main", os.urandom(32)), await slot_of(keys, "spare", DEK)
    assert await keys.unlock(sealed(wrong, right), VM) == DEK
    with pytest.raises(EnvelopeError, match="sealed under another key") as caught:
        await keys.unlock(sealed(wrong), VM)
    assert caught.value.kind == "wrong-key"


async def test_a_wrong_key_is_never_wrapped_for_the_state(keys: Keys) -> None:
    await keys.initialise()
    envelope = sealed(await slot_of(keys, "main", os.urandom(32)))
    with pytest.raises(EnvelopeError, match="sealed under another key"):
        await keys.rewrap(envelope, VM, keys.choose("spare"))


async def test_a_key_that_may_come_back_is_waited_for(keys: Keys, tmp_path: Path) -> None:
    await keys.initialise()
    wrong, right = await slot_of(keys, "main", os.urandom(32)), await slot_of(keys, "spare", DEK)
    (tmp_path / "spare").rename(tmp_path / "elsewhere")
    with pytest.raises(KeyMissingError, match="is missing") as caught:
        await keys.unlock(sealed(wrong, right), VM)
    assert caught.value.retry


async def test_keys_that_are_made_are_recorded(keys: Keys, tmp_path: Path) -> None:
    await keys.initialise()
    lines = [json.loads(line) for line in (tmp_path / "audit").read_text().splitlines()]
    assert [(line["event"], line["provider"]) for line in lines] == [
        ("key-made", "main"),
        ("key-made", "spare"),
    ]

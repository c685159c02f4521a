"""A DEK to wrap, contexts to bind it to, and what providers with a key for each instance share."""

import os
from uuid import uuid4

from vtpmd.kms.provider import KeyContext, KeyProvider
from vtpmd.storage.slot import Slot

DEK = b"0123456789abcdef" * 2


def fresh_context() -> KeyContext:
    return KeyContext(uuid4(), os.urandom(16))


async def rewrapped_twice(provider: KeyProvider, context: KeyContext) -> tuple[Slot, Slot, Slot]:
    """Wrap and rewrap twice; each takes a new key and leaves the old ones. The slots."""
    first = await provider.wrap(DEK, context)
    second = await provider.rewrap(first, context)
    third = await provider.rewrap(second, context)
    slots = (first, second, third)
    names = [slot.key_ref.removeprefix(f"vtpmd-{context.uuid}") for slot in slots]
    assert names == ["", ".2", ".3"]
    assert len({slot.key_version for slot in slots}) == 3
    for slot in slots:
        assert await provider.unwrap(slot, context) == DEK
    assert (await provider.wrap(DEK, context)).key_version == third.key_version
    return slots

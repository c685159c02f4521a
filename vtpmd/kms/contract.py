"""The tests that every key provider must pass, those of other packages included.

Derive a test class that returns the provider, ready to wrap:

    class TestAcme(KeyProviderContract):
        async def open_provider(self) -> KeyProvider: …

pytest collects it with pytest-trio in trio mode.
"""

import json
import os
from contextlib import suppress
from dataclasses import replace
from uuid import UUID, uuid4

import trio

from vtpmd.storage.envelope import DEK_ID_SIZE, DEK_SIZE
from vtpmd.storage.slot import Slot

from .errors import KeyRefusedError, KeyUnavailableError
from .provider import KeyContext, KeyProvider, NotErased


class KeyProviderContract:
    """The test methods; each opens its own provider."""

    async def open_provider(self) -> KeyProvider:
        """Return the provider under test."""
        raise NotImplementedError

    async def test_what_was_wrapped_is_unwrapped(self) -> None:
        provider, dek, context = await self._setting()
        slot = await provider.wrap(dek, context)
        assert (slot.provider_type, slot.provider) == (provider.type, provider.name)
        assert dek not in slot.wrapped
        unwrapped = await provider.unwrap(slot, context)
        assert isinstance(unwrapped, bytearray), "a DEK must be in memory that can be wiped"
        assert unwrapped == dek

    async def test_slot_survives_its_encoding(self) -> None:
        provider, dek, context = await self._setting()
        slot = Slot.from_cbor((await provider.wrap(dek, context)).to_cbor())
        assert await provider.unwrap(slot, context) == dek

    async def test_slot_of_another_instance_is_refused(self) -> None:
        provider, dek, context = await self._setting()
        slot = await provider.wrap(dek, context)
        other = UUID(int=context.uuid.int ^ 1)
        await _refuses(provider, slot, replace(context, uuid=other))

    async def test_slot_of_another_dek_is_refused(self) -> None:
        provider, dek, context = await self._setting()
        slot = await provider.wrap(dek, context)
        await _refuses(provider, slot, replace(context, dek_id=bytes(DEK_ID_SIZE)))

    async def test_slot_of_another_kind_is_refused(self) -> None:
        provider, dek, context = await self._setting()
        slot = await provider.wrap(dek, context)
        foreign = replace(slot, provider_type="another")
        for wrong in (foreign, replace(slot, algorithm="another")):
            await _refuses(provider, wrong, context)
            try:
                await provider.rewrap(wrong, context)
            except KeyRefusedError:
                continue
            raise AssertionError("a slot was rewrapped that must not open")
        with suppress(KeyRefusedError):
            assert isinstance(await provider.destroy(foreign, context), NotErased)
        assert await provider.unwrap(slot, context) == dek

    async def test_many_are_unwrapped_at_the_same_time(self) -> None:
        provider, dek, context = await self._setting()
        slot = await provider.wrap(dek, context)
        unwrapped: list[bytearray] = []

        async def unwrap() -> None:
            unwrapped.append(await provider.unwrap(slot, context))

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(unwrap)
        assert unwrapped == [dek] * 20

    async def test_damaged_slot_is_refused(self) -> None:
        provider, dek, context = await self._setting()
        slot = await provider.wrap(dek, context)
        first, last = slot.wrapped[0], slot.wrapped[-1]
        for wrapped in (
            bytes([first ^ 1]) + slot.wrapped[1:],
            slot.wrapped[:-1] + bytes([last ^ 1]),
            slot.wrapped[:-1],
            slot.wrapped + b"\0",
            b"\0",
        ):
            await _refuses(provider, replace(slot, wrapped=wrapped), context)

    async def test_rewrapped_slot_holds_the_same_dek(self) -> None:
        provider, dek, context = await self._setting()
        slot = await provider.rewrap(await provider.wrap(dek, context), context)
        assert await provider.unwrap(slot, context) == dek
        await _refuses(provider, slot, replace(context, uuid=uuid4()))

    async def test_what_is_erased_is_lost_and_all_else_still_opens(self) -> None:
        provider, dek, context = await self._setting()
        slot = await provider.wrap(dek, context)
        other = replace(context, uuid=uuid4())
        slot_of_other = await provider.wrap(dek, other)
        outcome = await provider.destroy(slot, context)
        if isinstance(outcome, NotErased):
            assert outcome.reason
            assert await provider.unwrap(slot, context) == dek
        else:
            await _is_lost(provider, slot, context)
            assert isinstance(await provider.destroy(slot, context), type(outcome))
        assert await provider.unwrap(slot_of_other, other) == dek

    async def test_description_is_plain_and_names_the_provider(self) -> None:
        provider = await self.open_provider()
        description = json.loads(json.dumps(await provider.describe()))
        assert (description["name"], description["type"]) == (provider.name, provider.type)

    async def test_provider_that_can_wrap_passes_its_check(self) -> None:
        await (await self.open_provider()).check()

    async def test_what_was_closed_is_opened_by_the_next_call(self) -> None:
        provider, dek, context = await self._setting()
        slot = await provider.wrap(dek, context)
        await provider.aclose()
        await provider.aclose()
        assert await provider.unwrap(slot, context) == dek

    async def _setting(self) -> tuple[KeyProvider, bytes, KeyContext]:
        context = KeyContext(uuid4(), os.urandom(DEK_ID_SIZE))
        return await self.open_provider(), os.urandom(DEK_SIZE), context


async def _refuses(provider: KeyProvider, slot: Slot, context: KeyContext) -> None:
    try:
        await provider.unwrap(slot, context)
    except KeyRefusedError:
        return
    except KeyUnavailableError as error:
        raise AssertionError(
            f"a slot that does not open was reported as a missing key: {error}"
        ) from error
    raise AssertionError("a slot was opened that must not open")


async def _is_lost(provider: KeyProvider, slot: Slot, context: KeyContext) -> None:
    try:
        await provider.unwrap(slot, context)
    except KeyUnavailableError as error:
        hopeful = error.retry
    else:
        raise AssertionError("a slot was opened whose key is erased")
    assert not hopeful, "what is destroyed does not come back"

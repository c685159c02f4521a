"""The instances' keys: made, wrapped and unlocked through the configured key providers."""

import secrets
from collections.abc import Awaitable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TypeVar
from uuid import UUID

import trio

from vtpmd.kms.errors import KeyProviderError, KeyRefusedError, KeyUnavailableError
from vtpmd.kms.provider import Erased, KeyContext, KeyProvider, NotErased
from vtpmd.storage.envelope import DEK_ID_SIZE, DEK_SIZE, Envelope
from vtpmd.storage.errors import EnvelopeError
from vtpmd.storage.key import Key
from vtpmd.storage.slot import Purpose, Slot
from vtpmd.storage.wipe import wipe
from vtpmd.telemetry.audit import Audit
from vtpmd.telemetry.log import get_logger
from vtpmd.telemetry.metrics import KEY_BOUNDS, Metrics

from .errors import KeyMissingError

CLOSE_TIMEOUT = 5.0
GRACE = 60.0
"""Seconds for which a provider goes on that was taken out of the configuration."""
TICKET = b"ticket:\0"
"""With this the id of a ticket's key begins, and by chance no other's."""

log = get_logger("keys")
Result = TypeVar("Result")


@dataclass(frozen=True)
class ProviderState:
    """A key provider and why it cannot be used now (None: it can)."""

    provider: KeyProvider
    is_default: bool
    is_recovery: bool
    fault: str | None


@dataclass(frozen=True)
class Erasure:
    """What became of the KEK of one slot; `reason` says why it is not erased."""

    slot: Slot
    erased: bool
    reason: str


class Keys:
    """The key providers by name, the default one, and the one for recovery.

    Every use of a key is recorded, and counted in `metrics`. With a `recovery` provider every DEK
    is wrapped twice.
    """

    def __init__(
        self,
        providers: Mapping[str, KeyProvider],
        default: str | None,
        recovery: str | None = None,
        audit: Audit | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self.metrics = metrics or Metrics()
        for name, operation, outcome in product(providers, ("wrap", "unwrap"), ("done", "failed")):
            self.metrics.count("key_uses", name, operation, outcome, by=0)
        self._providers = providers
        self._default = default
        self._recovery = recovery
        self._audit = audit or Audit()

    async def initialise(self) -> None:
        """Let the providers create what they need on a host without instances."""
        for provider in self._providers.values():
            try:
                note = await provider.initialise()
            except KeyProviderError as error:
                log.error("key-provider-not-ready", provider=provider.name, reason=str(error))
                continue
            if note is not None:
                log.warning("key-provider-initialised", provider=provider.name, note=note)
                self._audit.record("key-made", provider=provider.name, note=note)

    def choose(self, name: str | None) -> KeyProvider:
        """The provider of this name, or the default one. Raises KeyMissingError."""
        wanted = name or self._default
        if wanted is None:
            several = "several key providers are configured and none is the default_provider"
            reason = several if self._providers else "no key provider is configured"
            raise KeyMissingError(reason, retry=False)
        if wanted not in self._providers:
            known = ", ".join(self._providers) or "none"
            raise KeyMissingError(
                f"there is no key provider {wanted}; configured: {known}", retry=False
            )
        return self._providers[wanted]

    def exchange(self, others: "Keys", same: Collection[str]) -> list[KeyProvider]:
        """Go on with other providers, but for those called `same`; the ones to be closed."""
        gone = [each for name, each in self._providers.items() if name not in same]
        self._providers = {
            name: self._providers[name] if name in same else each
            for name, each in others._providers.items()
        }
        self._default, self._recovery = others._default, others._recovery
        return gone

    def known(self, name: str) -> bool:
        """Whether a provider of this name is configured."""
        return name in self._providers

    async def fresh(self, uuid: UUID, provider: KeyProvider, mark: bytes = b"") -> Key:
        """A new DEK for an instance, wrapped by `provider`, to be wiped. Raises KeyMissingError.

        With `mark`, which its id then begins with, for something else of the instance.
        """
        dek = bytearray(secrets.token_bytes(DEK_SIZE))
        dek_id = mark + secrets.token_bytes(DEK_ID_SIZE - len(mark))
        context = KeyContext(uuid, dek_id)
        try:
            slots = [
                await self._wrap(holder, purpose, dek, context)
                for purpose, holder in self._holders(provider)
            ]
        except BaseException:
            wipe(dek)
            raise
        return Key(dek, dek_id, tuple(slots))

    def none(self) -> Key:
        """A key in no slot, under which nothing can be stored, for who waits for one."""
        return Key(bytearray(secrets.token_bytes(DEK_SIZE)), secrets.token_bytes(DEK_ID_SIZE), ())

    async def unlock(self, envelope: Envelope, uuid: UUID, *, ticket: bool = False) -> bytearray:
        """The DEK of a sealed state or `ticket`, from the first slot that holds it.

        Raises KeyMissingError; EnvelopeError if slots open, but none with the key of this state.
        """
        if envelope.header.dek_id.startswith(TICKET) is not ticket:
            raise KeyMissingError("a ticket has a key of its own, and state another", retry=False)
        failures: list[KeyMissingError] = []
        wrong: EnvelopeError | None = None
        for slot in sorted(envelope.slots, key=lambda slot: slot.purpose != "primary"):
            try:
                return await self._open(envelope, uuid, slot)
            except KeyMissingError as error:
                failures.append(error)
            except EnvelopeError as error:
                wrong = error
        if wrong is not None and not any(failure.retry for failure in failures):
            raise wrong
        reasons = "; ".join(map(str, failures)) or "the state file holds no wrapped key"
        raise KeyMissingError(reasons, any(failure.retry for failure in failures))

    async def unwrap(self, uuid: UUID, dek_id: bytes, slots: Sequence[Slot]) -> bytearray:
        """The DEK in the first of these slots that opens for this instance.

        Nothing proves that the slots are the instance's: whoever opens something with the DEK will
        see. The key of a ticket is nothing for a worker. Raises KeyMissingError, which names each
        KEK.
        """
        if dek_id.startswith(TICKET):
            raise KeyMissingError("a worker gets no key of a ticket", retry=False)
        context, failures = KeyContext(uuid, dek_id), []
        for slot in sorted(slots, key=lambda slot: slot.purpose != "primary"):
            try:
                provider = self.choose(slot.provider)
                unwrapping = provider.unwrap(slot, context)
                return await self._use("unwrap-blob", provider, context, slot, unwrapping)
            except KeyMissingError as error:
                failures.append(f"KEK {slot.key_ref} {slot.key_version}".rstrip() + f": {error}")
        raise KeyMissingError("; ".join(failures) or "no slot holds its key", retry=False)

    async def _open(self, envelope: Envelope, uuid: UUID, slot: Slot) -> bytearray:
        """The DEK in a slot. Raises KeyMissingError; EnvelopeError for one of another state."""
        context = KeyContext(uuid, envelope.header.dek_id)
        provider = self.choose(slot.provider)
        dek = await self._use("unwrap", provider, context, slot, provider.unwrap(slot, context))
        try:
            envelope.demand_key(dek)
        except EnvelopeError as error:
            wipe(dek)
            log.error("wrong-key", uuid=str(uuid), provider=provider.name, reason=str(error))
            raise
        return dek

    async def rewrap(
        self, envelope: Envelope, uuid: UUID, provider: KeyProvider
    ) -> tuple[Slot, ...]:
        """New slots for the same DEK: under the current KEKs of `provider`, and for recovery.

        The DEK itself is only unlocked for a provider that does not have it yet, or cannot open
        what it has. Raises KeyMissingError, EnvelopeError.
        """
        return tuple(
            [
                await self._rewrap(holder, purpose, envelope, uuid)
                for purpose, holder in self._holders(provider)
            ]
        )

    async def destroy(self, envelope: Envelope, uuid: UUID) -> list[Erasure]:
        """Destroy the KEKs that only this instance uses; the outcome for each slot."""
        context = KeyContext(uuid, envelope.header.dek_id)
        erasures = []
        for slot in envelope.slots:
            try:
                provider = self.choose(slot.provider)
                outcome = await self._use(
                    "destroy", provider, context, slot, provider.destroy(slot, context)
                )
            except KeyMissingError as error:
                erasures.append(Erasure(slot, erased=False, reason=str(error)))
                continue
            erased = isinstance(outcome, Erased)
            reason = "" if isinstance(outcome, Erased) else outcome.reason
            erasures.append(Erasure(slot, erased, reason))
        return erasures

    async def survey(self) -> list[ProviderState]:
        """Every provider, and whether a new key could be wrapped now."""
        states = []
        for name, provider in self._providers.items():
            fault = None
            try:
                await provider.check()
            except KeyProviderError as error:
                fault = str(error)
            except Exception as error:  # as in `_use`
                log.exception("key-provider-defect", provider=name, operation="check")
                fault = f"it failed unexpectedly ({type(error).__name__}): see the log"
            default, recovery = name == self._default, name == self._recovery
            states.append(ProviderState(provider, default, recovery, fault))
        return states

    async def aclose(self) -> None:
        """Close all providers; one that hangs or fails is given up after CLOSE_TIMEOUT seconds."""
        async with trio.open_nursery() as nursery:
            for provider in self._providers.values():
                nursery.start_soon(_close, provider)

    def _holders(self, provider: KeyProvider) -> list[tuple[Purpose, KeyProvider]]:
        """Who holds the wrapped DEK of an instance, and what for. Raises KeyMissingError."""
        holders: list[tuple[Purpose, KeyProvider]] = [("primary", provider)]
        if self._recovery not in (None, provider.name):
            holders.append(("recovery", self.choose(self._recovery)))
        return holders

    async def _rewrap(
        self, holder: KeyProvider, purpose: Purpose, envelope: Envelope, uuid: UUID
    ) -> Slot:
        context = KeyContext(uuid, envelope.header.dek_id)
        old = [slot for slot in envelope.slots if slot.provider == holder.name]
        if old:
            try:
                rewrapping = holder.rewrap(old[0], context)
                slot = await self._use("rewrap", holder, context, old[0], rewrapping)
                return replace(slot, purpose=purpose)
            except KeyMissingError as error:
                log.warning("not-rewrapped", uuid=str(uuid), reason=str(error))
        dek = await self.unlock(envelope, uuid)
        try:
            return await self._wrap(holder, purpose, dek, context)
        finally:
            wipe(dek)

    async def _wrap(
        self, provider: KeyProvider, purpose: Purpose, dek: bytearray, context: KeyContext
    ) -> Slot:
        wrapping = provider.wrap(dek, context)
        slot = await self._use("wrap", provider, context, None, wrapping)
        return replace(slot, purpose=purpose)

    async def _use(
        self,
        operation: str,
        provider: KeyProvider,
        context: KeyContext,
        slot: Slot | None,
        use: Awaitable[Result],
    ) -> Result:
        """Await one use of a key and record it. Raises KeyMissingError."""
        outcome, reason = "abandoned", ""
        begun = trio.current_time()
        try:
            result = await use
            outcome = "done"
            if isinstance(result, Slot):
                slot = result
            elif isinstance(result, NotErased):
                outcome, reason = "not-erased", result.reason
        except KeyProviderError as error:
            outcome, reason = "failed", str(error)
            raise _missing(provider.name, error) from None
        except Exception as error:  # a defect in a foreign package must not keep another slot shut
            outcome, reason = "failed", type(error).__name__
            log.exception("key-provider-defect", provider=provider.name, operation=operation)
            raise KeyMissingError(
                f"key provider {provider.name} failed unexpectedly ({reason}): see the log",
                retry=True,
            ) from None
        finally:
            self.metrics.count("key_uses", provider.name, operation, outcome)
            times = self.metrics.histogram("key_use_seconds", provider.name, KEY_BOUNDS)
            times.observe(trio.current_time() - begun)
            self._audit.record(
                "key-use",
                operation=operation,
                uuid=str(context.uuid),
                provider=provider.name,
                key_ref=slot and slot.key_ref,
                key_version=slot and slot.key_version,
                outcome=outcome,
                reason=reason,
            )
        return result


def primary(slots: Sequence[Slot]) -> Slot:
    """The slot of the key provider that an instance is under, not that of recovery."""
    return next((slot for slot in slots if slot.purpose == "primary"), slots[0])


async def close_later(provider: KeyProvider) -> None:
    """Close a provider that is no longer used, when what was under way has ended."""
    await trio.sleep(GRACE)
    await _close(provider)


async def _close(provider: KeyProvider) -> None:
    reason = f"it took longer than {CLOSE_TIMEOUT:g} s"
    with trio.move_on_after(CLOSE_TIMEOUT):
        try:
            await provider.aclose()
            return
        except Exception as error:  # whatever a foreign package does must not delay the others
            reason = str(error)
    log.warning("key-provider-not-closed", provider=provider.name, reason=reason)


def _missing(provider: str, error: KeyProviderError) -> KeyMissingError:
    match error:
        case KeyUnavailableError():
            return KeyMissingError(f"key provider {provider}: {error.reason}", error.retry)
        case KeyRefusedError():
            return KeyMissingError(
                f"key provider {provider} refuses this key: {error}", retry=False
            )
    return KeyMissingError(f"key provider {provider}: {error}", retry=False)

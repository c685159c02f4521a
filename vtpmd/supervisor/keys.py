"""The instances' keys: made, wrapped and unlocked through the configured key providers."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from vtpmd.kms.provider import (
    KeyContext,
    KeyProvider,
    KeyProviderError,
    KeyRefused,
    KeyUnavailable,
)
from vtpmd.storage.envelope import DEK_ID_SIZE, DEK_SIZE, Envelope
from vtpmd.storage.slot import Slot
from vtpmd.storage.wipe import wipe
from vtpmd.telemetry.log import get_logger

log = get_logger("keys")


class KeyMissing(Exception):
    """No key can be had; the text says why and `retry` whether that may change by itself."""

    def __init__(self, reason: str, retry: bool) -> None:
        super().__init__(reason)
        self.retry = retry


@dataclass(frozen=True)
class FreshKey:
    """A new DEK, which the holder wipes, with its id and its wrapped form."""

    dek: bytearray = field(repr=False)
    dek_id: bytes
    slots: tuple[Slot, ...]


@dataclass(frozen=True)
class ProviderState:
    """A key provider and why it cannot be used now (None: it can)."""

    provider: KeyProvider
    is_default: bool
    fault: str | None


class Keys:
    """The key providers by name, and the one for new instances."""

    def __init__(self, providers: Mapping[str, KeyProvider], default: str | None) -> None:
        self._providers = providers
        self._default = default

    async def initialise(self) -> None:
        """Let the providers make what they need on a host without instances."""
        for provider in self._providers.values():
            try:
                note = await provider.initialise()
            except KeyProviderError as error:
                log.error("key-provider-not-ready", provider=provider.name, reason=str(error))
                continue
            if note is not None:
                log.warning("key-provider-initialised", provider=provider.name, note=note)

    def choose(self, name: str | None) -> KeyProvider:
        """The provider of this name, or the default one. Raises KeyMissing."""
        wanted = name or self._default
        if wanted is None:
            several = "several key providers are configured and none is the default_provider"
            reason = several if self._providers else "no key provider is configured"
            raise KeyMissing(reason, retry=False)
        if wanted not in self._providers:
            known = ", ".join(self._providers) or "none"
            raise KeyMissing(f"there is no key provider {wanted}; configured: {known}", retry=False)
        return self._providers[wanted]

    async def fresh(self, uuid: UUID, provider: KeyProvider) -> FreshKey:
        """A new DEK for an instance, wrapped by `provider`. Raises KeyMissing."""
        dek, dek_id = bytearray(secrets.token_bytes(DEK_SIZE)), secrets.token_bytes(DEK_ID_SIZE)
        try:
            slot = await provider.wrap(dek, KeyContext(uuid, dek_id))
        except BaseException as error:
            wipe(dek)
            if isinstance(error, KeyProviderError):
                raise _missing(provider.name, error) from None
            raise
        return FreshKey(dek, dek_id, (slot,))

    async def unlock(self, envelope: Envelope, uuid: UUID) -> bytearray:
        """The DEK of a sealed state, from the first slot that opens. Raises KeyMissing."""
        context = KeyContext(uuid, envelope.header.dek_id)
        failures = []
        for slot in envelope.slots:
            try:
                return await self.choose(slot.provider).unwrap(slot, context)
            except KeyProviderError as error:
                failures.append(_missing(slot.provider, error))
            except KeyMissing as error:
                failures.append(error)
        reasons = "; ".join(map(str, failures)) or "the state file holds no wrapped key"
        raise KeyMissing(reasons, any(failure.retry for failure in failures))

    async def survey(self) -> list[ProviderState]:
        """Every provider, and whether a new key could be wrapped now."""
        states = []
        for name, provider in self._providers.items():
            fault = None
            try:
                await provider.check()
            except KeyProviderError as error:
                fault = str(error)
            states.append(ProviderState(provider, name == self._default, fault))
        return states


def _missing(provider: str, error: KeyProviderError) -> KeyMissing:
    match error:
        case KeyUnavailable():
            return KeyMissing(f"key provider {provider}: {error.reason}", error.retry)
        case KeyRefused():
            return KeyMissing(f"key provider {provider} refuses this key: {error}", retry=False)
    return KeyMissing(f"key provider {provider}: {error}", retry=False)

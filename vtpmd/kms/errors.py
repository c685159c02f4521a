"""What the key providers raise."""

from uuid import UUID

from vtpmd.storage.slot import Slot


class KmsError(Exception):
    """Root of all errors of this package."""


class NotOpenedError(KmsError):
    """A KEK does not open what was wrapped: it is damaged, or bound to something else."""


class KeyProviderError(KmsError):
    """A key provider could not do what it was asked for."""


class KeyUnavailableError(KeyProviderError):
    """The KEK is out of reach; the instance is locked until it is back.

    `retry`: whether it may come back by itself; otherwise somebody has to act on `reason`.
    """

    def __init__(self, reason: str, retry: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry = retry


class KeyRefusedError(KeyProviderError):
    """The KEK was used and does not open this slot: it is damaged or of another instance."""

    @classmethod
    def foreign(cls, provider: str, slot: Slot) -> "KeyRefusedError":
        """What `provider` raises for a slot whose type or algorithm is not its own."""
        return cls(
            f"key provider {provider} does not open a slot of type {slot.provider_type}, "
            f"algorithm {slot.algorithm}"
        )

    @classmethod
    def unopened(cls, kek: str, instance: UUID) -> "KeyRefusedError":
        """What a provider raises when `kek` does not open the slot of `instance`."""
        return cls(
            f"key {kek} does not open the key slot of instance {instance}: "
            "the slot is damaged, or of another instance or DEK"
        )

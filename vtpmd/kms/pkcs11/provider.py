"""The key provider `pkcs11`: KEKs that never leave a token."""

from typing import Any
from uuid import UUID

from vtpmd.storage.slot import Slot
from vtpmd.storage.wipe import wipe

from ..errors import KeyRefusedError
from ..key_names import version_of
from ..provider import TRIAL, Erased, KeyContext, NotErased, new_slot
from ..words import printable
from . import TYPE
from .messages import (
    Check,
    Checked,
    Describe,
    Destroy,
    Destroyed,
    KekName,
    Made,
    Make,
    Opened,
    Rewrap,
    Sealed,
    Unwrap,
    Unwrapped,
    Wrap,
)
from .module import Module


class Pkcs11Provider:
    """Wraps DEKs with AES-256 under keys of the token that `module` has opened.

    With `shared_key`, a label, all instances use that key, else each has its own, whose label is
    `key_prefix` and its UUID. Keys that are missing are made if `create`. Labels of
    later versions end in their number; the newest version wraps. A slot names its key by label and
    id, whatever is configured now.
    """

    type = TYPE

    def __init__(
        self,
        name: str,
        module: Module,
        key_prefix: str,
        shared_key: str | None,
        create: bool,
    ) -> None:
        self.name = name
        self._module = module
        self._key_prefix = key_prefix
        self._shared_key = shared_key
        self._create = create

    def __repr__(self) -> str:
        return f"Pkcs11Provider({self.name!r}, {self._module.name!r})"

    async def initialise(self) -> str | None:
        """Make the shared key, if one is configured, missing, and may be made."""
        if self._shared_key is None or not self._create:
            return None
        if not (await self._module.ask(Make(self._shared_key), Made)).created:
            return None
        return f"created key {self._shared_key} with {self._module.name}: back up the token"

    async def wrap(self, dek: bytes | bytearray, context: KeyContext) -> Slot:
        """Wrap under the newest shared key or key of the instance."""
        copy = bytearray(dek)
        request = Wrap(self._base(context.uuid), self._create, copy, context.aad())
        try:
            return self._slot(await self._module.ask(request, Sealed))
        finally:
            wipe(copy)

    async def unwrap(self, slot: Slot, context: KeyContext) -> bytearray:
        """Unwrap with the key that the slot names."""
        request = Unwrap(self._sealed(slot), context.aad())
        return (await self._module.ask(request, Unwrapped)).dek

    async def rewrap(self, slot: Slot, context: KeyContext) -> Slot:
        """Wrap under the newest shared key, or a new version of the key of the instance.

        The DEK stays in the process with the module.
        """
        first = 1
        if self._shared_key is None:
            first += version_of(slot.key_ref, self._base(context.uuid)) or 0
        request = Rewrap(
            self._sealed(slot), context.aad(), self._base(context.uuid), first, self._create
        )
        return self._slot(await self._module.ask(request, Sealed))

    async def destroy(self, slot: Slot, context: KeyContext) -> Erased | NotErased:
        """Destroy all versions of the instance's key: older ones open older copies of its DEK."""
        sealed = self._sealed(slot)
        own = self._own(context.uuid)
        version = version_of(slot.key_ref, own)
        if version is None and self._shared_key is not None:
            return NotErased.shared(self.name)
        if version is None:
            return NotErased.not_own(self.name, slot.key_ref, own)
        destroyed = await self._module.ask(Destroy(own, version, sealed.kek), Destroyed)
        if destroyed.elsewhere:
            return NotErased(
                f"the token has the key {sealed.kek.id} under the label "
                f"{printable(destroyed.elsewhere)}: "
                "destroy it there if it is this instance's"
            )
        return Erased()

    async def describe(self) -> dict[str, Any]:
        """Name, type, module and token, how its keys are used, and the process with the module."""
        opened = await self._module.ask(Describe(), Opened)
        return {
            "name": self.name,
            "type": self.type,
            "library": printable(opened.library),
            "token": printable(opened.token),
            "serial": printable(opened.serial),
            "model": printable(opened.model),
            "algorithm": opened.algorithm,
            "key_scope": "shared" if self._shared_key else "instance",
            **(
                {"key_name": self._shared_key}
                if self._shared_key
                else {"key_prefix": self._key_prefix}
            ),
            "pid": self._module.pid,
        }

    async def check(self) -> None:
        """Log in, and wrap a trial DEK if there is a shared key."""
        required = self._shared_key is not None and not self._create
        await self._module.ask(Check(self._base(TRIAL.uuid), required), Checked)

    async def aclose(self) -> None:
        """End the process with the module."""
        await self._module.aclose()

    def _base(self, uuid: UUID) -> str:
        return self._shared_key or self._own(uuid)

    def _own(self, uuid: UUID) -> str:
        return f"{self._key_prefix}{uuid}"

    def _slot(self, sealed: Sealed) -> Slot:
        return new_slot(self, sealed.kek.label, sealed.kek.id, sealed.algorithm, sealed.wrapped)

    def _sealed(self, slot: Slot) -> Sealed:
        if slot.provider_type != self.type:
            raise KeyRefusedError.foreign(self.name, slot)
        try:
            return Sealed(KekName(slot.key_ref, slot.key_version), slot.algorithm, slot.wrapped)
        except ValueError as error:
            raise KeyRefusedError(
                f"a slot of key provider {self.name} names no key: {error}"
            ) from None

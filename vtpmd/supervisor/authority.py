"""The own authority: made when it is first needed, its keys unsealed only while they sign."""

import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TypeVar
from uuid import uuid4

import trio
from cryptography import x509

from vtpmd.pki import authority, chains, private_key, store
from vtpmd.pki.authority import Issuer
from vtpmd.pki.entries import Revoked
from vtpmd.pki.errors import DamagedError, RefusedError
from vtpmd.pki.store import Public, Secrets, Stored
from vtpmd.storage.directory import CA, make_directory
from vtpmd.storage.errors import EnvelopeError, StorageError
from vtpmd.storage.files import open_directory
from vtpmd.storage.key import Key
from vtpmd.storage.slot import Slot
from vtpmd.storage.wipe import wipe
from vtpmd.telemetry.audit import Audit

from .errors import KeyMissingError
from .keys import Keys, primary

Result = TypeVar("Result")


def authority_directory(state_fd: int) -> int:
    """A descriptor of the directory of authority and ledger, which is made if need be.

    Raises StorageError.
    """
    try:
        return open_directory(CA, state_fd)
    except StorageError as error:
        if error.kind != "missing":
            raise
    try:
        return make_directory(CA, state_fd)
    except StorageError as refused:
        if refused.kind != "exists":
            raise
    return open_directory(CA, state_fd)  # another thread was faster


class Authority:
    """The own authority. `provider` is the key provider for its key when it has to be made.

    Methods raise StorageError, PkiError and KeyMissingError.
    """

    def __init__(self, state_fd: int, keys: Keys, audit: Audit) -> None:
        self._state_fd = state_fd
        self._keys = keys
        self._audit = audit
        self._lock = trio.Lock()  # nobody makes or changes it twice at once

    async def existing(self) -> Public | None:
        """What everybody may know of it, None if it was never made."""
        stored = await self._in_directory(store.load)
        return None if stored is None else stored.public

    async def issuer(self, provider: str | None = None) -> Issuer:
        """Who issues now, with the key, which is for one use."""
        stored, made = await self._present(provider)
        if made is not None:
            return made  # its key was here a moment ago: no key provider is asked again
        async with self._unsealed(stored) as (secrets, _):
            return store.issuers(stored.public, secrets)[-1]

    async def request(self) -> x509.CertificateSigningRequest:
        """A request for an issuing CA below somebody else's; its key is kept until `adopt`."""
        async with self._changing() as stored, self._unsealed(stored) as (secrets, key):
            wanted = secrets.request or private_key.generate()
            try:
                public = replace(stored.public, requested=True)
                await self._save(stored, public, replace(secrets, request=wanted), key)
                made = authority.request(public.uuid, private_key.load(wanted))
            finally:
                wipe(wanted)
        self._audit.record("authority-requested", uuid=str(public.uuid))
        return made

    async def adopt(self, file: str, octets: bytes) -> Public:
        """Issue from now on with the certificate that `request` has led to.

        Raises RefusedError for `octets`, which are those of `file`.
        """
        async with self._changing() as stored, self._unsealed(stored) as (secrets, key):
            if not secrets.request:
                raise RefusedError("no certificate was requested: `vtpmctl ca csr` comes first")
            wanted = private_key.load(secrets.request).public_key()
            chain = await trio.to_thread.run_sync(chains.accept_issuer, wanted, file, octets)
            public, changed = store.replace_issuer(stored.public, secrets, chain)
            await self._save(stored, public, changed, key)
        self._audit.record("authority-imported", issuer=authority.key_id(chain[0]))
        return public

    async def rekey(self, provider: str | None) -> tuple[Slot, ...] | None:
        """Seal its keys under a new DEK; the slots that hold that. None if it was never made.

        `provider` is the key provider that wraps it; None: the one so far.
        """
        if await self.existing() is None:
            return None
        async with self._changing() as stored, self._unsealed(stored) as (secrets, _):
            slots = stored.envelope.slots
            holder = self._keys.choose(provider or primary(slots).provider)
            key = await self._keys.fresh(stored.public.uuid, holder)
            try:
                await self._save(stored, stored.public, secrets, key)
            finally:
                wipe(key.dek)
        self._audit.record("authority-rekeyed", provider=holder.name)
        return key.slots

    async def revocation_lists(
        self, revoked: Callable[[str], Sequence[Revoked]]
    ) -> list[x509.CertificateRevocationList]:
        """What each issuer has revoked, the current one first; `revoked` by its key identifier."""
        stored = await self._stored(None)
        async with self._unsealed(stored) as (secrets, _):
            issuers = store.issuers(stored.public, secrets)[::-1]
        return [
            await trio.to_thread.run_sync(
                authority.revocation_list, each, revoked(authority.key_id(each.certificate))
            )
            for each in issuers
        ]

    async def _stored(self, provider: str | None) -> Stored:
        return (await self._present(provider))[0]

    async def _present(self, provider: str | None) -> tuple[Stored, Issuer | None]:
        """The authority; with its issuer if it had to be made."""
        if (found := await self._in_directory(store.load)) is not None:
            return found, None
        async with self._lock:
            made = None
            if (found := await self._in_directory(store.load)) is None:
                made = await self._make(provider)
                found = await self._in_directory(store.load)
            assert found is not None
            return found, made

    @asynccontextmanager
    async def _changing(self) -> AsyncIterator[Stored]:
        """The authority, which nobody else changes meanwhile."""
        await self._stored(None)
        async with self._lock:
            stored = await self._in_directory(store.load)
            assert stored is not None
            yield stored

    async def _make(self, provider: str | None) -> Issuer:
        uuid = uuid4()
        key = await self._keys.fresh(uuid, self._keys.choose(provider))
        secrets = Secrets(private_key.generate(), (private_key.generate(),))
        try:
            root_key, issuing_key = map(private_key.load, (secrets.root, *secrets.issuers))
            root, issuer = await trio.to_thread.run_sync(
                authority.make, uuid, root_key, issuing_key
            )
            public = Public(uuid, root, (issuer.chain,))
            await self._in_directory(partial(store.save, public=public, secrets=secrets, key=key))
        finally:
            secrets.wipe()
            wipe(key.dek)
        self._audit.record("authority-made", uuid=str(uuid), root=authority.key_id(root))
        return issuer

    async def _save(self, old: Stored, public: Public, secrets: Secrets, key: Key) -> None:
        generation = old.envelope.header.generation + 1
        await self._in_directory(
            partial(store.save, public=public, secrets=secrets, key=key, generation=generation)
        )

    @asynccontextmanager
    async def _unsealed(self, stored: Stored) -> AsyncIterator[tuple[Secrets, Key]]:
        """The keys, and what they are sealed under; both are wiped afterwards."""
        uuid, header = stored.public.uuid, stored.envelope.header
        dek = bytearray()
        try:
            try:
                dek = await self._keys.unlock(stored.envelope, uuid)
                secrets = await trio.to_thread.run_sync(stored.unseal, dek)
            except KeyMissingError as error:
                raise KeyMissingError(f"the keys of the authority: {error}", error.retry) from None
            except EnvelopeError as error:
                raise DamagedError(f"the keys of the authority: {error}") from None
            try:
                yield secrets, Key(dek, header.dek_id, stored.envelope.slots)
            finally:
                secrets.wipe()
        finally:
            wipe(dek)

    async def _in_directory(self, use: Callable[[int], Result]) -> Result:
        def run() -> Result:
            fd = authority_directory(self._state_fd)
            try:
                return use(fd)
            finally:
                os.close(fd)

        return await trio.to_thread.run_sync(run)

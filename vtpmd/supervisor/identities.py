"""Endorsement keys as the ledger knows them, and the certificates issued for them.

The ledger has an entry, durably, before a certificate leaves this process.
"""

import contextlib
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from uuid import UUID

import trio

from vtpmd.config.schema import Identity as Settings
from vtpmd.ipc.identity import Identity
from vtpmd.pki import acceptance, authority
from vtpmd.pki.acceptance import Tpm
from vtpmd.pki.authority import Issuer, Terms
from vtpmd.pki.certificates import Certificates, pem
from vtpmd.pki.entries import Entry, Given, Known, Refused, Revoked
from vtpmd.pki.errors import ConflictError, DamagedError, RefusedError
from vtpmd.pki.ledger import Ledger
from vtpmd.pki.store import Chain
from vtpmd.storage.files import read_file
from vtpmd.telemetry.audit import Audit

from .authority import Authority, authority_directory
from .told import brought, demand_sound, ek_of, given_as, known_as, of_holders, proven_by

MAX_ROOTS = 1 << 20


class Identities:
    """The ledger, and what may be given to a TPM by its entries.

    `settings` is what the configuration says. Methods raise StorageError, PkiError and
    KeyMissingError.
    """

    def __init__(
        self, settings: Settings, state_fd: int, authority: Authority, audit: Audit
    ) -> None:
        self.settings = settings
        self.authority = authority
        self._state_fd = state_fd
        self._audit = audit
        self._ledger: Ledger | None = None
        self._directory: int | None = None
        self._lock = trio.Lock()

    def close(self) -> None:
        """Let go of the ledger's directory."""
        if self._directory is not None:
            os.close(self._directory)
        self._ledger = self._directory = None

    @property
    def kinds(self) -> tuple[str, ...]:
        """Which EKs are to be known of new TPMs."""
        return () if self.settings.ca == "none" else tuple(self.settings.keys)

    def subject(self, identity: UUID) -> str:
        """The common name in certificates of a TPM, empty for none."""
        return str(identity) if self.settings.subject == "uuid" else ""

    async def ledger(self) -> Ledger:
        """The ledger, for reading."""
        async with self._lock:
            return await self._opened()

    async def welcome(self, identity: UUID, told: Identity, provider: str) -> Certificates:
        """Note a TPM that was just made, and certify it if that is the own authority's matter.

        `provider` is the key provider for the authority's key if it is to be made now.
        """
        known = known_as(identity, told, "made")
        if self.settings.ca != "own":
            await self._append([known])
            return Certificates()
        return await self._certify(known, provider, [known])

    async def trust(self, identity: UUID, told: Identity) -> Known:
        """Note a TPM that has served before, because an administrator trusts what it says now."""
        known = known_as(identity, told, "trusted")
        await self._append([known])
        self._audit.record("identity-trusted", identity=str(identity), seed=told.seed.hex())
        return known

    async def renew(self, known: Known) -> Certificates:
        """New certificates by the own authority for a TPM that is known."""
        return await self._certify(known, None, [])

    async def accept(
        self, known: Known, files: Mapping[str, bytes], roots: Mapping[str, bytes]
    ) -> Certificates:
        """Certificates that somebody has brought for a TPM; `files` and `roots` by name.

        Raises RefusedError. They are given out only with `give`.
        """
        roots = roots or await self._configured_roots()
        tpm = Tpm(known.keys, known.reported)
        return await trio.to_thread.run_sync(acceptance.accept, tpm, files, roots)

    async def give(self, known: Known, certificates: Certificates) -> None:
        """Note that a TPM is given certificates of foreign authorities."""
        entries = [
            given_as(known, kind, leaf, leaf.issuer.rfc4514_string(), "foreign")
            for kind, leaf in certificates.leaves.items()
        ]
        await self._append(entries)
        self._record("certificate-imported", entries)

    async def refused(self, identity: UUID, digests: Collection[bytes]) -> None:
        """Note that a TPM did not take certificates that it was to be given."""
        await self._append([Refused(digest=each) for each in digests])
        for each in digests:
            self._audit.record("certificate-refused", identity=str(identity), digest=each.hex())

    async def revoke(self, given: list[Given], reason: str) -> list[Revoked]:
        """Revoke certificates of the own authority; what is revoked already stays so."""
        ledger = await self.ledger()
        revoked = [
            Revoked(serial=each.serial, issuer=each.issuer, reason=reason)
            for each in given
            if each.source == "own" and ledger.revocation(each) is None
        ]
        await self._append(revoked)
        for each in revoked:
            self._audit.record("certificate-revoked", serial=each.serial, reason=reason)
        return revoked

    async def told(self, identity: UUID, certificates: Certificates) -> list[Entry]:
        """What a bundle or ticket with these certificates tells of a TPM."""
        return (await self.ledger()).entries(identity, certificates.leaf_digests.values())

    async def restore(
        self, identity: UUID, entries: Sequence[Entry], certificates: Certificates
    ) -> None:
        """Note what a bundle says of a TPM, as far as certificates that came with it prove it.

        They have to chain to the own authority, or to the roots that are configured.
        """
        ledger, own = await self.ledger(), await self._own()
        roots = await self._configured_roots()
        if own:
            roots["the own authority"] = pem([chain[-1] for chain in own])
        if not roots:
            return  # a chain that proves itself proves nothing
        for known in (each for each in entries if isinstance(each, Known)):
            if known.identity != identity or ledger.find(identity, known.seed) is not None:
                continue
            with contextlib.suppress(RefusedError, ConflictError, DamagedError):
                proven, accepted = proven_by(known, certificates, roots)
                await self._append(
                    ledger.lacking([proven, *brought(proven, accepted, own, entries)])
                )

    async def take_over(
        self, identity: UUID, entries: Sequence[Entry], certificates: Certificates
    ) -> None:
        """Note what a ticket says of a TPM that is to come; the word of its daemon is enough.

        But the certificates in it have to be of keys that it names, and signed by who is above them
        in it. Raises RefusedError and DamagedError: then nothing is noted.
        """
        ledger, own = await self.ledger(), await self._own()
        known = [
            replace(each, how="restored")
            for each in entries
            if isinstance(each, Known) and each.identity == identity
        ]
        for each in known:
            demand_sound(each)
        new: list[Entry] = [*known]
        for holder, held in of_holders(known, certificates):
            new += brought(holder, held, own, entries)
        await self._append(ledger.lacking(new))

    async def _own(self) -> Sequence[Chain]:
        """The chains of the own authority's issuers."""
        public = await self.authority.existing()
        return () if public is None else public.issuers

    async def _configured_roots(self) -> dict[str, bytes]:
        if (path := self.settings.roots) is None:
            return {}
        return {str(path): await trio.to_thread.run_sync(read_file, path, MAX_ROOTS)}

    async def _certify(
        self, known: Known, provider: str | None, before: list[Entry]
    ) -> Certificates:
        issuer = await self.authority.issuer(provider)  # not earlier: its key is here to sign
        certificates = await trio.to_thread.run_sync(self._issue, issuer, known)
        name = authority.key_id(issuer.certificate)
        given = [
            given_as(known, kind, leaf, name, "own") for kind, leaf in certificates.leaves.items()
        ]
        await self._append([*before, *given])
        self._record("certificate-issued", given)
        return certificates

    def _issue(self, issuer: Issuer, known: Known) -> Certificates:
        settings = self.settings
        terms = Terms(settings.lifetime, settings.ca_issuers_url, settings.crl_url)
        subject = self.subject(known.identity)
        leaves = {
            kind: authority.issue(issuer, ek_of(kind, octets), known.reported, subject, terms)
            for kind, octets in known.keys.items()
            if kind in self.kinds
        }
        return Certificates(leaves, issuer.chain if leaves else ())

    async def _append(self, entries: Sequence[Entry]) -> None:
        async with self._lock:
            ledger = await self._opened()
            with trio.CancelScope(shield=True):  # what is on the disk is known here, too
                await trio.to_thread.run_sync(ledger.append, entries)

    async def _opened(self) -> Ledger:
        if self._ledger is None:
            self._ledger = await trio.to_thread.run_sync(self._open)
        return self._ledger

    def _open(self) -> Ledger:
        self._directory = authority_directory(self._state_fd)
        return Ledger(self._directory)

    def _record(self, event: str, given: list[Given]) -> None:
        for each in given:
            self._audit.record(
                event,
                identity=str(each.identity),
                kind=each.kind,
                serial=each.serial,
                issuer=each.issuer,
                key_digest=each.key.hex(),
            )

"""Endorsement keys as the ledger knows them, and the certificates issued for them.

The ledger has an entry, durably, before a certificate leaves this process.
"""

import contextlib
import hashlib
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from uuid import UUID

import trio
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_der_public_key

from vtpmd.config.schema import Identity as Settings
from vtpmd.ipc.identity import Identity
from vtpmd.pki import acceptance, authority
from vtpmd.pki.acceptance import Tpm
from vtpmd.pki.authority import Issuer, Terms
from vtpmd.pki.certificates import Certificates, der, pem
from vtpmd.pki.chains import has_signed
from vtpmd.pki.contents import EkKey, Reported, kind_of
from vtpmd.pki.entries import Entry, Given, How, Known, Refused, Revoked, Source, fingerprint
from vtpmd.pki.errors import ConflictError, DamagedError, RefusedError
from vtpmd.pki.ledger import Ledger
from vtpmd.storage.files import read_file
from vtpmd.telemetry.audit import Audit

from .authority import Authority, authority_directory

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
            _given(known, kind, leaf, leaf.issuer.rfc4514_string(), "foreign")
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
        """What a bundle with these certificates tells of a TPM."""
        ledger, present = await self.ledger(), set(certificates.digests.values())
        given = [each for each in ledger.given(identity) if each.digest in present]
        return [*ledger.known(identity), *given]

    async def restore(
        self, identity: UUID, entries: Sequence[Entry], certificates: Certificates
    ) -> None:
        """Note what a bundle says of a TPM, as far as certificates that came with it prove it.

        They have to chain to the own authority, or to the roots that are configured.
        """
        ledger, public = await self.ledger(), await self.authority.existing()
        roots = await self._configured_roots()
        if public is not None:
            roots["the own authority"] = pem([chain[-1] for chain in public.issuers])
        if not roots:
            return  # a chain that proves itself proves nothing
        own = [] if public is None else [chain[0] for chain in public.issuers]
        told = {each.digest: each.time for each in entries if isinstance(each, Given)}
        present = {each.digest for each in ledger.given(identity)}
        for known in (each for each in entries if isinstance(each, Known)):
            if known.identity != identity or ledger.find(identity, known.seed) is not None:
                continue
            with contextlib.suppress(RefusedError, ConflictError, DamagedError):
                proven, accepted = _proven(known, certificates, roots)
                given = [
                    _brought(proven, kind, leaf, own) for kind, leaf in accepted.leaves.items()
                ]
                new = [each for each in given if each.digest in told.keys() - present]
                timed = [replace(each, time=told[each.digest]) for each in new]
                await self._append([proven, *timed])

    async def take_over(self, identity: UUID, entries: Sequence[Entry]) -> None:
        """Note what another host knows of a TPM that is to come from there; its word is enough."""
        ledger = await self.ledger()
        present = {each.digest for each in ledger.given(identity)}
        new: list[Entry] = []
        for entry in entries:
            match entry:
                case Known(identity=who) if who == identity:
                    if ledger.find(identity, entry.seed) is None:
                        new.append(replace(entry, how="restored"))
                case Given(identity=who) if who == identity and entry.digest not in present:
                    new.append(entry)
        await self._append(new)

    async def _configured_roots(self) -> dict[str, bytes]:
        if (path := self.settings.roots) is None:
            return {}
        return {str(path): await trio.to_thread.run_sync(read_file, path, MAX_ROOTS)}

    async def _certify(
        self, known: Known, provider: str | None, before: list[Entry]
    ) -> Certificates:
        issuer = await self.authority.issuer(provider)
        certificates = await trio.to_thread.run_sync(self._issue, issuer, known)
        name = authority.key_id(issuer.certificate)
        given = [
            _given(known, kind, leaf, name, "own") for kind, leaf in certificates.leaves.items()
        ]
        await self._append([*before, *given])
        self._record("certificate-issued", given)
        return certificates

    def _issue(self, issuer: Issuer, known: Known) -> Certificates:
        settings = self.settings
        terms = Terms(settings.lifetime, settings.ca_issuers_url, settings.crl_url)
        subject = self.subject(known.identity)
        leaves = {
            kind: authority.issue(issuer, _key(kind, octets), known.reported, subject, terms)
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


def known_as(identity: UUID, told: Identity, how: How) -> Known:
    """What a worker tells of a TPM, as an entry. Raises DamagedError for keys that are none."""
    for kind, octets in told.keys.items():
        _key(kind, octets)
    if told.names.keys() - told.keys.keys():
        raise DamagedError("the worker names keys that it does not tell")
    reported = Reported(**vars(told.reported))
    try:
        reported.demand_encodable()
    except ValueError as error:
        raise DamagedError(f"what the worker says its TPM reports: {error}") from None
    return Known(
        identity=identity,
        seed=told.seed,
        keys=told.keys,
        names=told.names,
        reported=reported,
        how=how,
    )


def _proven(
    entry: Known, certificates: Certificates, roots: Mapping[str, bytes]
) -> tuple[Known, Certificates]:
    """What certificates prove of an entry that somebody brings, and those. Raises RefusedError."""
    try:
        entry.reported.demand_encodable()
    except ValueError as error:
        raise RefusedError(str(error)) from None
    tpm = Tpm(entry.keys, entry.reported)
    accepted = acceptance.accept(tpm, {"certificates": certificates.pem}, roots)
    for leaf in accepted.leaves.values():
        names = [str(name.value) for name in leaf.subject]
        if names not in ([], [str(entry.identity)]):
            raise RefusedError(f"a certificate is of {names[0]}")
    keys = {kind: entry.keys[kind] for kind in accepted.leaves}
    shown = {kind: name for kind, name in entry.names.items() if kind in keys}
    return replace(entry, keys=keys, names=shown, how="restored"), accepted


def _key(kind: str, octets: bytes) -> EkKey:
    """A key that a worker, which may be anybody's, says is an EK of a kind."""
    try:
        key = load_der_public_key(octets)
    except Exception:  # whatever hostile octets lead the parser to
        raise DamagedError(f"what the worker calls its {kind} key is none") from None
    if kind_of(key) != kind or not isinstance(key, EkKey):
        raise DamagedError(f"what the worker calls its {kind} key is another")
    return key


def _brought(
    known: Known, kind: str, leaf: x509.Certificate, own: Sequence[x509.Certificate]
) -> Given:
    """What a certificate itself says of having been given; `own`: the own authority's issuers."""
    for issuer in own:
        if has_signed(issuer, leaf):
            return _given(known, kind, leaf, authority.key_id(issuer), "own")
    return _given(known, kind, leaf, leaf.issuer.rfc4514_string(), "foreign")


def _given(known: Known, kind: str, leaf: x509.Certificate, issuer: str, source: Source) -> Given:
    return Given(
        identity=known.identity,
        seed=known.seed,
        kind=kind,
        key=fingerprint(known.keys[kind]),
        serial=f"{leaf.serial_number:x}",
        issuer=issuer,
        source=source,
        not_after=leaf.not_valid_after_utc,
        digest=hashlib.sha256(der(leaf)).digest(),
    )

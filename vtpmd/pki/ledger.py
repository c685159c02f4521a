"""The ledger: which TPM has which keys, and every certificate that was given out. Append-only.

A line is durable before what it tells of leaves this host. A last line that a crash has cut short
was never acted upon and is cut away; anything else that is not understood refuses the whole ledger:
whoever guesses here certifies a key twice.
"""

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from sys import intern
from typing import Final
from uuid import UUID

from vtpmd.storage.atomic import create_file, write_all
from vtpmd.storage.errors import StorageError
from vtpmd.storage.files import open_file, storage_error

from .authority import NO_END
from .contents import Reported
from .entries import Entry, Given, Known, Refused, Revoked, decode, encode, is_whole
from .errors import ConflictError, DamagedError

NAME: Final = "ledger"


class Ledger:
    """The entries of the ledger in an open directory; one process at a time, not thread safe.

    Raises StorageError and DamagedError.
    """

    def __init__(self, dir_fd: int) -> None:
        self._dir_fd = dir_fd
        self._known: dict[tuple[UUID, bytes], Known] = {}
        self._holders: dict[bytes, UUID] = {}
        self._reports: dict[Reported, Reported] = {}
        self._given: list[Given] = []
        self._given_to: dict[UUID, list[Given]] = {}
        self._revoked: dict[tuple[str, str], Revoked] = {}
        self._refused: set[bytes] = set()
        fd = self._open()
        try:
            for entry in _read(fd):
                self._note(entry)
        except OSError as error:
            raise storage_error(f"read {NAME}", error) from None
        finally:
            os.close(fd)

    def find(self, identity: UUID, seed: bytes) -> Known | None:
        """What is known of the TPM of an identity while it has this seed."""
        return self._known.get((identity, seed))

    def known(self, identity: UUID) -> list[Known]:
        """What is known of the TPMs of an identity, the newest last."""
        return [each for each in tuple(self._known.values()) if each.identity == identity]

    def given(self, identity: UUID | None = None) -> list[Given]:
        """Every certificate that was given out, or those of one identity."""
        return list(self._given if identity is None else self._given_to.get(identity, ()))

    def revoked(self, issuer: str | None = None) -> list[Revoked]:
        """What was revoked, or what one issuer has."""
        return [each for each in tuple(self._revoked.values()) if issuer in (None, each.issuer)]

    def revocation(self, given: Given) -> Revoked | None:
        """Whether and why a certificate was revoked."""
        return self._revoked.get((given.issuer, given.serial))

    def was_refused(self, given: Given) -> bool:
        """Whether the TPM did not take a certificate when it was last given it."""
        return given.digest in self._refused

    def entries(self, identity: UUID, digests: Collection[bytes] | None = None) -> list[Entry]:
        """What is known of one identity and its certificates, or of those with these digests."""
        given = [each for each in self.given(identity) if digests is None or each.digest in digests]
        revoked = [found for each in given if (found := self.revocation(each)) is not None]
        return [*self.known(identity), *given, *revoked]

    def lacking(self, entries: Iterable[Entry]) -> list[Entry]:
        """Those entries of which nothing like them is here yet."""
        return [each for each in entries if not self._has(each)]

    def _has(self, entry: Entry) -> bool:
        match entry:
            case Known():
                return (entry.identity, entry.seed) in self._known
            case Given():
                return any(each.digest == entry.digest for each in self.given(entry.identity))
            case Revoked():
                return (entry.issuer, entry.serial) in self._revoked
            case Refused():
                return entry.digest in self._refused

    def append(self, entries: Sequence[Entry]) -> None:
        """Add entries, durably, all in one write.

        Raises ConflictError for a key of another identity, DamagedError for an entry that could not
        be read again, and StorageError: none is added then.
        """
        for entry in entries:
            self._check(entry)
        lines = list(map(encode, entries))
        for line in lines:
            decode(line, "an entry")
        octets = b"".join(lines)
        fd = self._open()
        try:
            size = os.fstat(fd).st_size
            try:
                write_all(fd, octets, size)
                os.fsync(fd)
            except OSError:
                os.ftruncate(fd, size)
                raise
        except OSError as error:
            raise storage_error(f"write {NAME}", error) from None
        finally:
            os.close(fd)
        for entry in entries:
            self._note(entry)

    def _check(self, entry: Entry) -> None:
        match entry:
            case Known():
                keys = list(entry.fingerprints.values())
            case Given():
                keys = [entry.key]
            case Revoked() | Refused():
                return
        for key in keys:
            if (holder := self._holders.get(key, entry.identity)) != entry.identity:
                raise ConflictError(f"the key {key.hex()[:16]}… belongs to identity {holder}")

    def _note(self, entry: Entry) -> None:
        match entry:
            case Known():
                self._known[entry.identity, entry.seed] = self._lean(entry)
                for key in entry.fingerprints.values():
                    self._holders.setdefault(key, entry.identity)
            case Given():
                lean = self._lean_given(entry)
                self._given.append(lean)
                self._given_to.setdefault(lean.identity, []).append(lean)
                self._refused.discard(entry.digest)
                self._holders.setdefault(entry.key, entry.identity)
            case Revoked():
                self._revoked.setdefault((entry.issuer, entry.serial), entry)
            case Refused():
                self._refused.add(entry.digest)

    def _lean(self, known: Known) -> Known:
        """The same entry; what many have in common is there once."""
        return replace(
            known,
            keys={intern(kind): key for kind, key in known.keys.items()},
            names={intern(kind): name for kind, name in known.names.items()},
            reported=self._reports.setdefault(known.reported, known.reported),
        )

    def _lean_given(self, given: Given) -> Given:
        known = self._known.get((given.identity, given.seed))
        return replace(
            given,
            identity=given.identity if known is None else known.identity,
            seed=given.seed if known is None else known.seed,
            kind=intern(given.kind),
            issuer=intern(given.issuer),
            not_after=NO_END if given.not_after == NO_END else given.not_after,
        )

    def _open(self) -> int:
        try:
            return open_file(NAME, self._dir_fd, writable=True, forbidden=0o077)
        except StorageError as error:
            if error.kind != "missing":
                raise
        create_file(self._dir_fd, NAME, b"")
        return open_file(NAME, self._dir_fd, writable=True)


def _read(fd: int) -> Iterator[Entry]:
    """The entries in an open file; what a crash has left of a last one is cut away."""
    end = 0
    with open(fd, "rb", closefd=False) as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                if is_whole(line[:-1]):  # no write ends so
                    raise DamagedError(f"{NAME}, line {number}: its end was changed")
                break
            yield decode(line, f"{NAME}, line {number}")
            end += len(line)
    if end < os.fstat(fd).st_size:
        os.ftruncate(fd, end)
        os.fsync(fd)

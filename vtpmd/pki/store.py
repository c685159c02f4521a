"""The file of the own authority: its certificates for everybody to read, its keys sealed.

JSON, beginning with its format, replaced as a whole: a crash leaves the old authority or the new
one. The keys are in an envelope as a TPM's state is, under a DEK that a key provider has wrapped;
in it they are PKCS#8, each behind its length (4 octets): root, request, then the issuers' in the
order of their certificates. An empty one is not there.
"""

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from cryptography import x509

from vtpmd.storage import envelope
from vtpmd.storage.atomic import write_file
from vtpmd.storage.envelope import Envelope
from vtpmd.storage.errors import EnvelopeError, StorageError
from vtpmd.storage.files import read_file
from vtpmd.storage.header import Header
from vtpmd.storage.key import Key
from vtpmd.storage.wipe import wipe

from . import private_key
from .authority import Issuer
from .certificates import pem
from .errors import DamagedError

FORMAT: Final = 1
NAME: Final = "authority"
_MAX_SIZE: Final = 1 << 20
_LENGTH: Final = 4

Chain = tuple[x509.Certificate, ...]


@dataclass(frozen=True)
class Public:
    """What everybody may know: the own root, and each issuer with those above it, newest last.

    `requested`: a request for another issuer is out, and its key is kept.
    """

    uuid: UUID
    root: x509.Certificate
    issuers: tuple[Chain, ...]
    requested: bool = False

    @property
    def current(self) -> Chain:
        """Who issues now, up to the root."""
        return self.issuers[-1]


@dataclass(frozen=True)
class Secrets:
    """The keys of an authority as they are written; whoever has them wipes them."""

    root: bytearray = field(repr=False)
    issuers: tuple[bytearray, ...] = field(repr=False)
    request: bytearray = field(default_factory=bytearray, repr=False)
    """Empty if no request is out."""

    def wipe(self) -> None:
        """Overwrite all of them."""
        for each in (self.root, self.request, *self.issuers):
            wipe(each)


@dataclass(frozen=True)
class Stored:
    """An authority as it rests: what is public, and the envelope of its keys."""

    public: Public
    envelope: Envelope = field(repr=False)

    def unseal(self, dek: bytes | bytearray) -> Secrets:
        """Its keys. Raises EnvelopeError; DamagedError if they aren't those of its certificates."""
        octets = self.envelope.unseal(dek, self.public.uuid, "authority")
        try:
            root, request, *issuers = _split(octets)
        except ValueError:
            raise DamagedError(f"{NAME}: what is sealed in it are no keys") from None
        finally:
            wipe(octets)
        secrets = Secrets(root, tuple(issuers), request)
        try:
            _check(self.public, secrets)
        except DamagedError:
            secrets.wipe()
            raise
        return secrets


def issuers(public: Public, secrets: Secrets) -> list[Issuer]:
    """The issuers with their keys, the current one last; the secrets may be wiped then."""
    pairs = zip(public.issuers, map(private_key.load, secrets.issuers), strict=True)
    return [Issuer(chain[0], chain[1:], key) for chain, key in pairs]


def load(dir_fd: int) -> Stored | None:
    """The authority in an open directory, None if there is none.

    Raises StorageError and DamagedError.
    """
    try:
        octets = read_file(NAME, _MAX_SIZE, dir_fd, forbidden=0o077)
    except StorageError as error:
        if error.kind == "missing":
            return None
        raise
    try:
        document = json.loads(octets)
        found = document["format"]
        if type(found) is not int or found != FORMAT:
            raise DamagedError(f"{NAME} does not have format {FORMAT}: {found!r}")
        return _stored(document)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedError(f"{NAME}: not what vtpmd writes ({type(error).__name__})") from None
    except EnvelopeError as error:
        raise DamagedError(f"{NAME}: {error}") from None


def save(dir_fd: int, public: Public, secrets: Secrets, key: Key, generation: int = 1) -> None:
    """Put an authority in the place of what there is, durably. Raises StorageError."""
    written = (secrets.root, secrets.request, *secrets.issuers)
    octets = bytearray(sum(_LENGTH + len(each) for each in written))  # grown, it would leave copies
    offset = 0
    for each in written:
        octets[offset : offset + _LENGTH] = len(each).to_bytes(_LENGTH)
        octets[offset + _LENGTH : offset + _LENGTH + len(each)] = each
        offset += _LENGTH + len(each)
    header = Header(public.uuid, generation, "authority", key.dek_id)
    try:
        sealed = envelope.seal(key.dek, header, key.slots, octets)
    finally:
        wipe(octets)
    document = {
        "format": FORMAT,
        "uuid": str(public.uuid),
        "root": pem([public.root]).decode(),
        "issuers": [pem(chain).decode() for chain in public.issuers],
        "requested": public.requested,
        "sealed": base64.b64encode(sealed).decode(),
    }
    write_file(dir_fd, NAME, json.dumps(document, indent=2).encode() + b"\n")


def _stored(document: dict[str, Any]) -> Stored:
    chains = [_certificates(text) for text in document["issuers"]]
    (root,) = _certificates(document["root"])
    public = Public(
        UUID(document["uuid"]), root, tuple(chains), bool(document.get("requested", False))
    )
    if not chains:
        raise ValueError("no issuer")
    sealed = envelope.parse(base64.b64decode(document["sealed"], validate=True))
    return Stored(public, sealed)


def _certificates(text: str) -> Chain:
    return tuple(x509.load_pem_x509_certificates(text.encode()))


def _split(octets: bytearray) -> Iterator[bytearray]:
    """What `save` has put behind one another."""
    offset = 0
    with memoryview(octets) as view:  # no copies but those that are handed out
        while offset < len(octets):
            size = int.from_bytes(view[offset : offset + _LENGTH])
            offset += _LENGTH
            yield bytearray(view[offset : offset + size])
            offset += size


def _check(public: Public, secrets: Secrets) -> None:
    """Raises DamagedError."""
    certified = [public.root, *(chain[0] for chain in public.issuers)]
    if len(secrets.issuers) + 1 != len(certified):
        raise DamagedError(f"{NAME}: it has not a key for each of its certificates")
    try:
        keys = [private_key.load(each) for each in (secrets.root, *secrets.issuers)]
        if secrets.request:
            private_key.load(secrets.request)
    except ValueError:
        raise DamagedError(f"{NAME}: what is sealed in it are no keys") from None
    pairs = zip(keys, certified, strict=True)
    if any(key.public_key() != certificate.public_key() for key, certificate in pairs):
        raise DamagedError(f"{NAME}: its keys are not those of its certificates")


def replace_issuer(
    public: Public, secrets: Secrets, chain: Sequence[x509.Certificate]
) -> tuple[Public, Secrets]:
    """The authority with the issuer that a request has led to as its newest."""
    assert secrets.request
    return (
        Public(public.uuid, public.root, (*public.issuers, tuple(chain))),
        Secrets(secrets.root, (*secrets.issuers, secrets.request)),
    )

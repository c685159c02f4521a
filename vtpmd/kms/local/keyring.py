"""The keyring of the local provider: versions of its KEK, one of them active.

Format version 1, deterministic CBOR: a map with `format` (1), `keks` (an array of maps with
`id`, `created` in seconds since 1970, `state`, `key`) and `checksum`, the SHA-256 of the
same map encoded without it.
"""

import hashlib
import hmac
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Literal, cast, get_args

from vtpmd.encoding import cbor

from ..errors import KmsError
from ..gcm import KEK_SIZE

KekState = Literal["active", "retired"]

FORMAT_VERSION = 1
MAX_VERSIONS = 1024

_KEK_FIELDS = ["id", "created", "state", "key"]


class KeyringError(KmsError):
    """This is not a keyring that this vtpmd can read or write; the message says why."""


@dataclass(frozen=True)
class KekVersion:
    """One KEK: a random `id`, `created` in seconds since 1970, `key` of 32 octets."""

    id: str
    created: int
    state: KekState
    key: bytes = field(repr=False)


@dataclass(frozen=True)
class Keyring:
    """KEK versions, oldest first. The active one wraps; retired ones only unwrap.

    Raises KeyringError for more than MAX_VERSIONS, which could not be read back.
    """

    versions: tuple[KekVersion, ...] = ()

    def __post_init__(self) -> None:
        if len(self.versions) > MAX_VERSIONS:
            raise KeyringError(f"it would have more than {MAX_VERSIONS} KEKs")

    @property
    def active(self) -> KekVersion:
        """The version that wraps."""
        return next(version for version in self.versions if version.state == "active")

    def find(self, version_id: str) -> KekVersion | None:
        """The version with this id."""
        return next((version for version in self.versions if version.id == version_id), None)

    def rotated(self, now: int) -> "Keyring":
        """Return this keyring with a new active version, created at `now`, and all others retired.

        Raises KeyringError.
        """
        fresh = KekVersion(os.urandom(8).hex(), now, "active", os.urandom(KEK_SIZE))
        return Keyring((*(replace(old, state="retired") for old in self.versions), fresh))

    def merged(self, other: "Keyring") -> "Keyring":
        """Return this keyring plus the versions of another one, retired. Raises KeyringError."""
        for version in other.versions:
            mine = self.find(version.id)
            if mine is not None and not hmac.compare_digest(mine.key, version.key):
                raise KeyringError(f"both have a KEK {version.id}, and they differ")
        new = [replace(v, state="retired") for v in other.versions if self.find(v.id) is None]
        return Keyring(tuple(sorted((*new, *self.versions), key=lambda kek: kek.created)))

    def encode(self) -> bytes:
        """Return the content of the file, which `parse` reads."""
        content: dict[str, object] = {
            "format": FORMAT_VERSION,
            "keks": [asdict(version) for version in self.versions],
        }
        content["checksum"] = hashlib.sha256(cbor.encode(content)).digest()
        return cbor.encode(content)


def parse(data: bytes) -> Keyring:
    """Read a keyring. Raises KeyringError for anything that `Keyring.encode` does not write.

    A format version above FORMAT_VERSION is refused as such, before anything else is checked.
    """
    try:
        keyring = _read(cbor.decode(data))
    except cbor.CborError as error:
        raise KeyringError(f"it is damaged: {error}") from None
    if keyring.encode() != data:
        raise KeyringError("it is damaged: its checksum does not match its content")
    return keyring


def _read(content: object) -> Keyring:
    version = content.get("format") if isinstance(content, Mapping) else None
    if type(version) is int and version > FORMAT_VERSION:
        raise KeyringError(
            f"it has format version {version}, this vtpmd reads {FORMAT_VERSION} and older"
        )
    fields = cbor.mapping(content, ["format", "keks", "checksum"])
    keks = cbor.array(fields["keks"], range(1, MAX_VERSIONS + 1))
    versions = tuple(_read_version(kek) for kek in keks)
    if [kek.state for kek in versions].count("active") != 1:
        raise cbor.malformed("not exactly one KEK is active")
    if len({kek.id for kek in versions}) != len(versions):
        raise cbor.malformed("two KEKs have the same id")
    return Keyring(versions)


def _read_version(kek: object) -> KekVersion:
    fields = cbor.mapping(kek, _KEK_FIELDS)
    state = cbor.text(fields["state"])
    if state not in get_args(KekState):
        raise cbor.malformed(f"a KEK has no state {state!r}")
    return KekVersion(
        id=cbor.text(fields["id"]),
        created=cbor.uint(fields["created"]),
        state=cast(KekState, state),
        key=cbor.octets(fields["key"], [KEK_SIZE]),
    )

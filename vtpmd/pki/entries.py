"""The entries of the ledger, and each as a JSON line.

A line begins with its version, whose place and type never change; within a version a field that is
missing has its default and one that is unknown is ignored. It ends with a check, the first octets
of the SHA-256 of what is before it: a changed octet could have another key certified, or another
certificate revoked. A line without one, which somebody has written by hand, is read as it is.
"""

import base64
import hashlib
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, ClassVar, Final
from uuid import UUID

from .contents import Reported
from .errors import DamagedError

VERSION: Final = 1
MAX_LINE: Final = 64 << 10
_CHECK: Final = b',"check":"'
_CHECKED: Final = 16
"""Hexadecimal digits of a check."""
_END: Final = b'"}'

How = typing.Literal["made", "trusted", "restored"]
"""Why the keys of a TPM are believed: the worker that made it said so before any guest could speak,
an administrator trusts what a worker says later, or a bundle has brought what another host knows.
"""
REASONS: Final = (
    "unspecified",
    "key-compromise",
    "affiliation-changed",
    "superseded",
    "cessation-of-operation",
    "privilege-withdrawn",
)
"""Why a certificate can be revoked (RFC 5280, 5.3.1)."""
Source = typing.Literal["own", "foreign"]


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """A TPM: the name of its endorsement primary seed, its EKs and their Names, what it reports."""

    TYPE: ClassVar = "tpm"
    identity: UUID
    seed: bytes
    keys: dict[str, bytes]
    names: dict[str, bytes] = field(default_factory=dict)
    reported: Reported
    how: How
    time: datetime = field(default_factory=_now)

    @property
    def fingerprints(self) -> dict[str, bytes]:
        """The SHA-256 of each key, by kind."""
        return {kind: fingerprint(key) for kind, key in self.keys.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """A certificate that was given to a TPM: by the own authority, or brought by somebody.

    `serial` in hexadecimal; `issuer`: the key identifier of an own issuing CA, a name otherwise;
    `key`: the SHA-256 of the certified key, `digest` that of the certificate.
    """

    TYPE: ClassVar = "certificate"
    identity: UUID
    seed: bytes
    kind: str
    key: bytes
    serial: str
    issuer: str
    source: Source
    not_after: datetime
    digest: bytes
    time: datetime = field(default_factory=_now)


@dataclass(frozen=True, kw_only=True, slots=True)
class Revoked:
    """A certificate of the own authority that is not to be believed any more."""

    TYPE: ClassVar = "revoked"
    serial: str
    issuer: str
    reason: str = "unspecified"
    time: datetime = field(default_factory=_now)


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """A certificate that the TPM did not take after all; `digest` is its SHA-256."""

    TYPE: ClassVar = "refused"
    digest: bytes
    time: datetime = field(default_factory=_now)


Entry = Known | Given | Revoked | Refused
_TYPES: Final[Mapping[str, type[Entry]]] = {
    kind.TYPE: kind for kind in (Known, Given, Revoked, Refused)
}


def fingerprint(key: bytes) -> bytes:
    """The SHA-256 of a SubjectPublicKeyInfo."""
    return hashlib.sha256(key).digest()


def encode(entry: Entry) -> bytes:
    """An entry as a line."""
    document = {"version": VERSION, "type": entry.TYPE, **_plain_fields(entry)}
    content = json.dumps(document, separators=(",", ":")).encode().removesuffix(b"}")
    return content + _check_of(content) + b"\n"


def _check_of(content: bytes) -> bytes:
    """The end of a line with this content."""
    return _CHECK + hashlib.sha256(content).hexdigest()[:_CHECKED].encode() + _END


def is_whole(line: bytes) -> bool:
    """Whether a line, without its end, is as it was written."""
    content, check, _ = line.rpartition(_CHECK)
    return bool(check) and line == content + _check_of(content)


def decode(line: bytes, where: str) -> Entry:
    """An entry from a line. Raises DamagedError, which says `where`."""
    if len(line) > MAX_LINE:
        raise DamagedError(f"{where}: longer than {MAX_LINE} bytes")
    if _CHECK in line and not is_whole(line.removesuffix(b"\n")):
        raise DamagedError(f"{where}: it was changed after it was written")
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        raise DamagedError(f"{where}: not JSON") from None
    version = document.get("version") if isinstance(document, dict) else None
    if type(version) is not int or version < 1:
        raise DamagedError(f"{where}: it names no version")
    if version > VERSION:
        raise DamagedError(f"{where}: version {version}, written by a newer vtpmd")
    kind = _TYPES.get(str(document.get("type")))
    if kind is None:
        raise DamagedError(f"{where}: no kind of entry that is known")
    try:
        made: Entry = _make(kind, document)
        return made
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DamagedError(f"{where}: {type(error).__name__}: {error}") from None


def decode_all(octets: bytes, where: str) -> list[Entry]:
    """The entries in a file that came from elsewhere. Raises DamagedError."""
    return [
        decode(line, f"{where}, line {number}")
        for number, line in enumerate(octets.splitlines(keepends=True), 1)
    ]


def _plain_fields(value: object) -> dict[str, Any]:
    return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}  # type: ignore[arg-type]


def _plain(value: object) -> object:
    match value:
        case bytes():
            return base64.b64encode(value).decode()
        case UUID():
            return str(value)
        case datetime():
            return value.isoformat()
        case dict():
            return {key: _plain(each) for key, each in value.items()}
        case Reported():
            return _plain_fields(value)
    return value


def _make(kind: Any, document: Mapping[str, Any]) -> Any:
    hints = typing.get_type_hints(kind)
    present = [each.name for each in fields(kind) if each.name in document]
    return kind(**{name: _value(hints[name], document[name]) for name in present})


def _value(hint: Any, value: Any) -> Any:
    if hint is bytes:
        return base64.b64decode(value, validate=True)
    if hint is UUID:
        return UUID(value)
    if hint is datetime:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise ValueError("a time without time zone")
        return moment
    if hint is Reported:
        return _make(Reported, value)
    if isinstance(hint, types.GenericAlias):
        return {_value(str, key): _value(bytes, each) for key, each in value.items()}
    if typing.get_origin(hint) is typing.Literal:
        if value not in typing.get_args(hint):
            raise ValueError(f"{value!r} is not one of {typing.get_args(hint)}")
        return value
    if type(value) is not hint:
        raise TypeError(f"{hint.__name__} is expected")
    return value

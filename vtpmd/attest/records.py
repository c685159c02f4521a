"""What the verifier keeps: a challenge that it has made, and the proof of an attestation key.

Both are its own files, in JSON; whoever can write them decides what is believed. A challenge does
not hold its secret, so that reading it helps nobody to answer it.
"""

import json
from dataclasses import asdict, dataclass
from hashlib import sha256
from hmac import compare_digest
from typing import Any, Final, Self

from .errors import MalformedError
from .keys import Key, parse_public

MAX_SIZE: Final = 64 * 1024
_VERSION: Final = 1


@dataclass(frozen=True)
class _Record:
    """Fields that are texts, behind a version; unknown ones are ignored."""

    ak_name: str
    """The Name of the attestation key, in hexadecimal."""
    ak_public: str
    """Its TPMT_PUBLIC, in hexadecimal."""
    ek_certificate: str
    """SHA-256 of the certificate of the EK, in hexadecimal."""

    @classmethod
    def kind(cls) -> str:
        """What the file says that it is."""
        raise NotImplementedError

    def encode(self) -> bytes:
        """The file."""
        return json.dumps({self.kind(): _VERSION, **asdict(self)}, indent=2).encode() + b"\n"

    @classmethod
    def decode(cls, octets: bytes) -> Self:
        """The record in a file. Raises MalformedError, also for one of a newer version."""
        try:
            content: Any = json.loads(octets[: MAX_SIZE + 1])
            version = content[cls.kind()]
            fields = {name: content[name] for name in cls.__dataclass_fields__}
        except (ValueError, KeyError, TypeError, RecursionError):
            raise MalformedError(f"no {cls.kind()}") from None
        if version != _VERSION:
            raise MalformedError(f"a {cls.kind()} of another version")
        if not all(isinstance(value, str) for value in fields.values()):
            raise MalformedError(f"no {cls.kind()}")
        record = cls(**fields)
        record.key()
        return record

    def key(self) -> Key:
        """The attestation key. Raises MalformedError unless it has the Name that is recorded."""
        try:
            key, name = parse_public(bytes.fromhex(self.ak_public)), bytes.fromhex(self.ak_name)
        except ValueError as error:
            raise MalformedError(f"a {self.kind()} without a key: {error}") from None
        if key.name != name:
            raise MalformedError(f"a {self.kind()} whose key has another Name")
        return key


@dataclass(frozen=True)
class Challenge(_Record):
    """A credential that is out, to be answered with its secret."""

    secret_sha256: str

    @classmethod
    def kind(cls) -> str:
        return "vtpmd-challenge"

    def answered_by(self, secret: bytes) -> bool:
        """Whether this is the secret."""
        return compare_digest(sha256(secret).hexdigest().encode(), self.secret_sha256.encode())


@dataclass(frozen=True)
class Proof(_Record):
    """`ak.json`: a TPM that has this EK has this AK; it has opened a credential made for both."""

    proven: str
    """When, in UTC."""

    @classmethod
    def kind(cls) -> str:
        return "vtpmd-ak"

"""`meta.json`: the public facts of an instance, next to its encrypted state.

The file begins with its format, a number that never changes its place or its type. Within a format
a field that is missing has its default, if it has one, and fields that are not known are ignored
and are gone when the file is written again. So a field that must not get lost comes with a new
format: that of a newer vtpmd is refused, and the file is left alone.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import MISSING, asdict, dataclass, fields, replace
from datetime import datetime
from typing import Any, cast, get_args
from uuid import UUID

from vtpmd.api.names import NAME_PATTERN, RESERVED_NAMES
from vtpmd.encoding.moment import moment
from vtpmd.storage.header import Handover, Header, stricter

from .errors import SupervisorError

FORMAT = 1
MAX_PUBLIC_FILE = 64 << 10
"""The most octets of this file, and of a certificate beside it."""
_MAX_BANKS = 16
_MAX_TEXT = 1024
MAX_LABELS = 32
"""How many labels an instance may have."""
_LABEL = r"[A-Za-z0-9][A-Za-z0-9_./-]{0,62}"
_MAX_LABEL = 255


class MetadataError(SupervisorError):
    """The file cannot be used; the text says why."""


@dataclass(frozen=True)
class Metadata:
    """One instance.

    `autostart`: the daemon serves it again when it starts. `identity`: the same for all that have
    the secrets of one TPM; it is the UUID of the first of them. `owner` (USER[:GROUP]) and `mode`
    (octal) are those of its sockets; None: as they are configured. `handover`: whose the TPM was
    when generation `handover_generation` of its state was written. `incoming`: its TPM is still to
    come from another host; provider, profile and banks are empty until then, unless a ticket said.
    `labels`: names and values that administrators have given it, by name. `made_for`: hashes of
    the key and the content of the request that has made it, if that had a key.
    """

    name: str
    uuid: UUID
    created: datetime
    provider: str
    profile: str
    pcr_banks: tuple[str, ...]
    identity: UUID
    data_socket: bool = False
    autostart: bool = False
    owner: str | None = None
    mode: str | None = None
    handover: Handover = "ours"
    handover_generation: int = 0
    incoming: bool = False
    labels: tuple[tuple[str, str], ...] = ()
    made_for: str = ""

    def remembered(self, header: Header) -> Handover:
        """The state of hand-over that state with this header has at least.

        What was written since then knows better; an older file that was put back does not.
        """
        return self.handover if header.generation < self.handover_generation else "ours"

    def remembers(self, handover: str, generation: int) -> bool:
        """Whether it says already that the TPM was so when this generation was written.

        One that is lent or away since a later one may have been ours unseen in between.
        """
        known = handover == "ours" or generation <= self.handover_generation
        return handover == self.handover and known

    def turned_back(self, provider: str, present: Header | None) -> "Metadata":
        """The metadata when an older state takes the place of the `present` one.

        It does not undo that the TPM was handed over. `provider`: which holds its key then.
        """
        if present is None:
            return replace(self, provider=provider)
        handover = stricter(present.handover, self.remembered(present))
        generation = present.generation
        return replace(self, provider=provider, handover=handover, handover_generation=generation)

    def encode(self) -> bytes:
        """The file's content."""
        content = {"format": FORMAT, **asdict(self)}
        content["uuid"], content["identity"] = str(self.uuid), str(self.identity)
        content["created"] = self.created.isoformat()
        return json.dumps(content, indent=2).encode() + b"\n"

    @classmethod
    def decode(cls, data: bytes) -> "Metadata":
        """Read a file's content, taking nothing for granted. Raises MetadataError."""
        if len(data) > MAX_PUBLIC_FILE:
            raise MetadataError(f"meta.json is larger than {MAX_PUBLIC_FILE} octets")
        try:
            content = json.loads(data)
        except (ValueError, RecursionError):
            raise MetadataError("meta.json is not JSON") from None
        if not isinstance(content, dict):
            raise MetadataError("meta.json holds no object")
        demand_format(content, FORMAT, MetadataError, "meta.json")
        metadata = cls(**dict(_read(content)))
        if as_uuid(metadata.name) not in (None, metadata.uuid):
            raise MetadataError("meta.json: name is the UUID of another instance")
        return metadata


def demand_format(content: dict[str, Any], known: int, refusal: type[Exception], what: str) -> None:
    """Raise `refusal` unless the `content` of a file, called `what`, has the `known` format."""
    found = content.get("format")
    if type(found) is int and found > known:
        raise refusal(f"{what} has format {found}, written by a newer vtpmd")
    if type(found) is not int or found != known:
        raise refusal(f"{what} does not have format {known}")


def _read(content: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The fields of Metadata that the content has."""
    for field in fields(Metadata):
        if field.name not in content:
            if field.default is MISSING:
                raise MetadataError(f"meta.json: {field.name} is missing")
            continue
        try:
            yield field.name, _READERS[field.name](content[field.name])
        except ValueError as error:
            raise MetadataError(f"meta.json: {field.name}: {error}") from None


def _text(value: object) -> str:
    if type(value) is not str or len(value) > _MAX_TEXT or not value.isprintable():
        raise ValueError(f"not a printable text of up to {_MAX_TEXT} characters")
    return value


def _name(value: object) -> str:
    if not valid_name(name := _text(value)):
        raise ValueError("not an instance name")
    return name


def _flag(value: object) -> bool:
    if type(value) is not bool:
        raise ValueError("neither true nor false")
    return value


def _uuid(value: object) -> UUID:
    return UUID(_text(value))


def _texts(value: object) -> tuple[str, ...]:
    if type(value) is not list or len(value) > _MAX_BANKS:
        raise ValueError(f"not a list of up to {_MAX_BANKS} texts")
    return tuple(map(_text, value))


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("not a count")
    return value


def _handover(value: object) -> Handover:
    if _text(value) not in get_args(Handover):
        raise ValueError(f"none of {', '.join(get_args(Handover))}")
    return cast(Handover, value)


def _octal(value: object) -> str:
    if re.fullmatch("0[0-7]{3}", text := _text(value)) is None:
        raise ValueError("not an octal mode")
    return text


def _or_none(read: Callable[[object], str]) -> Callable[[object], str | None]:
    return lambda value: None if value is None else read(value)


def check_label(name: str, value: str) -> None:
    """Raise ValueError unless a label may be so."""
    if re.fullmatch(_LABEL, name) is None:
        raise ValueError("labels have names of letters, digits and _ . / -, 63 at most")
    if len(value) > _MAX_LABEL or not value.isprintable():
        raise ValueError(f"label {name}: a printable text of up to {_MAX_LABEL} characters")


def _labels(value: object) -> tuple[tuple[str, str], ...]:
    if type(value) is not list or len(value) > MAX_LABELS:
        raise ValueError(f"not a list of up to {MAX_LABELS} pairs")
    pairs = []
    for pair in value:
        if type(pair) is not list or [type(each) for each in pair] != [str, str]:
            raise ValueError("not pairs of texts")
        check_label(*pair)
        pairs.append((pair[0], pair[1]))
    return tuple(pairs)


_READERS: dict[str, Callable[[object], object]] = {
    "name": _name,
    "uuid": _uuid,
    "created": moment,
    "provider": _text,
    "profile": _text,
    "pcr_banks": _texts,
    "identity": _uuid,
    "data_socket": _flag,
    "autostart": _flag,
    "owner": _or_none(_text),
    "mode": _or_none(_octal),
    "handover": _handover,
    "handover_generation": _count,
    "incoming": _flag,
    "labels": _labels,
    "made_for": _text,
}


def valid_name(name: str) -> bool:
    """Whether an instance may have this name; UUIDs are left to be what they are."""
    return re.fullmatch(NAME_PATTERN, name) is not None and name not in RESERVED_NAMES


def as_uuid(text: str) -> UUID | None:
    """The UUID that a text is, in any of the usual forms, or None."""
    try:
        return UUID(text)
    except ValueError:
        return None

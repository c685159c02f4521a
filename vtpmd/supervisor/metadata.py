"""`meta.json`: what is public about an instance, beside its encrypted state."""

import json
import re
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from vtpmd.api.names import NAME_PATTERN, RESERVED_NAMES

from .errors import SupervisorError

FORMAT = 1


class MetadataError(SupervisorError):
    """The file cannot be used; the text says why."""


@dataclass(frozen=True)
class Metadata:
    """One instance.

    `autostart`: the daemon serves it again when it starts. `identity`: the same for all that have
    the secrets of one TPM; it is the UUID of the first of them.
    """

    name: str
    uuid: UUID
    created: datetime
    provider: str
    profile: str
    pcr_banks: tuple[str, ...]
    data_socket: bool
    autostart: bool
    identity: UUID

    def encode(self) -> bytes:
        """The file's content."""
        content = {"format": FORMAT, **asdict(self)}
        content["uuid"], content["identity"] = str(self.uuid), str(self.identity)
        content["created"] = self.created.isoformat()
        return json.dumps(content, indent=2).encode() + b"\n"

    @classmethod
    def decode(cls, data: bytes) -> "Metadata":
        """Strictly read a file's content. Raises MetadataError."""
        try:
            content = json.loads(data)
        except (ValueError, RecursionError):
            raise MetadataError("meta.json is not JSON") from None
        if not isinstance(content, dict):
            raise MetadataError("meta.json holds no object")
        found = content.pop("format", None)
        if isinstance(found, int) and found > FORMAT:
            raise MetadataError(f"meta.json has format {found}, written by a newer vtpmd")
        if found != FORMAT or content.keys() != _FIELDS.keys():
            raise MetadataError("meta.json does not have the fields of format 1")
        for field, kind in _FIELDS.items():
            if type(content[field]) is not kind:
                raise MetadataError(f"meta.json: {field} has the wrong type")
        return cls(**content | _converted(content))


_FIELDS: dict[str, type] = {
    "name": str,
    "uuid": str,
    "created": str,
    "provider": str,
    "profile": str,
    "pcr_banks": list,
    "data_socket": bool,
    "autostart": bool,
    "identity": str,
}


def _converted(content: dict[str, Any]) -> dict[str, Any]:
    if not valid_name(content["name"]):
        raise MetadataError("meta.json: name is not an instance name")
    if not all(isinstance(bank, str) for bank in content["pcr_banks"]):
        raise MetadataError("meta.json: pcr_banks has the wrong type")
    try:
        created = datetime.fromisoformat(content["created"])
        uuid, identity = UUID(content["uuid"]), UUID(content["identity"])
    except ValueError as error:
        raise MetadataError(f"meta.json: {error}") from None
    if created.tzinfo is None:
        raise MetadataError("meta.json: created has no time zone")
    return {
        "uuid": uuid,
        "identity": identity,
        "created": created,
        "pcr_banks": tuple(content["pcr_banks"]),
    }


def valid_name(name: str) -> bool:
    """Whether an instance may have this name; UUIDs are left to be what they are."""
    return re.fullmatch(NAME_PATTERN, name) is not None and name not in RESERVED_NAMES

"""UEFI variables and lists of signatures, as events hold them (UEFI 2.10, 32.4.1; PFP 10.2.6)."""

from dataclasses import dataclass
from struct import Struct
from struct import error as struct_error
from typing import Final
from uuid import UUID

from ..errors import MalformedError

GLOBAL: Final = UUID("8be4df61-93ca-11d2-aa0d-00e098032b8c")
IMAGE_SECURITY: Final = UUID("d719b2cb-3d3a-4596-a3bc-dad00e67656f")
SHIM_LOCK: Final = UUID("605dab50-e046-4300-abb6-3dd810dd8b23")

_X509: Final = UUID("a5c059a1-94e4-4aa7-87b5-ab155c2bf072")
_SHA256: Final = UUID("c1c41626-504c-4092-aca9-41f936934328")

_HEAD: Final = Struct("<16sQQ")
_LIST: Final = Struct("<16sIII")
_OWNER: Final = 16
MAX_NAME: Final = 128


@dataclass(frozen=True, slots=True)
class Variable:
    """A UEFI_VARIABLE_DATA."""

    vendor: UUID
    name: str
    value: bytes


@dataclass(frozen=True, slots=True)
class SignatureLists:
    """Certificates (DER) and SHA-256 hashes in a variable like db and dbx."""

    certificates: tuple[bytes, ...]
    hashes: tuple[bytes, ...]


def parse_variable(data: bytes) -> Variable:
    """The variable that `data` is, to its last octet. Raises MalformedError."""
    try:
        vendor, characters, size = _HEAD.unpack_from(data)
    except struct_error:
        raise MalformedError("no UEFI variable") from None
    end = _HEAD.size + 2 * characters
    if characters > MAX_NAME or end + size != len(data):
        raise MalformedError("a UEFI variable of an impossible size")
    try:
        name = data[_HEAD.size : end].decode("utf-16-le")
    except UnicodeDecodeError:
        raise MalformedError("a UEFI variable whose name is no text") from None
    return Variable(UUID(bytes_le=vendor), name, data[end:])


def variable_value(data: bytes) -> bytes | None:
    """The value alone, or None if `data` is no variable."""
    try:
        return parse_variable(data).value
    except MalformedError:
        return None


def parse_signature_lists(value: bytes) -> SignatureLists:
    """All EFI_SIGNATURE_LIST of a variable. Raises MalformedError."""
    certificates: list[bytes] = []
    hashes: list[bytes] = []
    at = 0
    while at < len(value):
        try:
            kind, size, header, each = _LIST.unpack_from(value, at)
        except struct_error:
            raise MalformedError("a list of signatures that is cut off") from None
        start, end = at + _LIST.size + header, at + size
        if not start <= end <= len(value) or each <= _OWNER or (end - start) % each:
            raise MalformedError("a list of signatures of an impossible size")
        found = [value[one + _OWNER : one + each] for one in range(start, end, each)]
        match UUID(bytes_le=kind):
            case guid if guid == _X509:
                certificates += found
            case guid if guid == _SHA256:
                hashes += found
        at = end
    return SignatureLists(tuple(certificates), tuple(hashes))

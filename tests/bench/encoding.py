"""Just enough of the TPM's encoding to measure with: commands by hand, responses by position."""

import struct
from dataclasses import dataclass

OWNER = 0x40000001
NULL = 0x40000007
PASSWORD_SESSION = 0x40000009
PCR_16 = 16
NV_INDEX = 0x01500100

NV_UNDEFINE_SPACE = 0x122
NV_DEFINE_SPACE = 0x12A
CREATE_PRIMARY = 0x131
NV_WRITE = 0x137
NV_READ = 0x14E
CREATE = 0x153
LOAD = 0x157
QUOTE = 0x158
SIGN = 0x15D
UNSEAL = 0x15E
CONTEXT_LOAD = 0x161
CONTEXT_SAVE = 0x162
FLUSH_CONTEXT = 0x165
START_AUTH_SESSION = 0x176
GET_CAPABILITY = 0x17A
GET_RANDOM = 0x17B
HASH = 0x17D
PCR_READ = 0x17E
PCR_EXTEND = 0x182

SHA256 = bytes.fromhex("000b")
NO_SCHEME = bytes.fromhex("0010")
PCR_16_OF_SHA256 = bytes.fromhex("00000001000b03000001")
PCRS_0_TO_7_OF_SHA256 = bytes.fromhex("00000001000b03ff0000")
NO_TICKET = bytes.fromhex("8024400000070000")

STORAGE = 0x00030472
SIGNING = 0x00040472
RESTRICTED_SIGNING = 0x00050472
SEALED = 0x00000452


def sized(data: bytes) -> bytes:
    """A TPM2B."""
    return struct.pack(">H", len(data)) + data


def _public(kind: int, attributes: int, parameters: str, unique: bytes) -> bytes:
    return struct.pack(">HHIH", kind, 0x000B, attributes, 0) + bytes.fromhex(parameters) + unique


def ecc(attributes: int, unique: bytes = b"") -> bytes:
    """TPMT_PUBLIC of a key on NIST P-256, for storage or for ECDSA with SHA-256."""
    parameters = "000600800043 0010" if attributes == STORAGE else "0010 0018000b"
    return _public(0x0023, attributes, parameters + "0003 0010", sized(unique) + sized(b""))


def rsa(attributes: int, unique: bytes = b"") -> bytes:
    """TPMT_PUBLIC of an RSA-2048 key, for storage or for RSASSA with SHA-256."""
    parameters = "000600800043 0010" if attributes == STORAGE else "0010 0014000b"
    return _public(0x0001, attributes, parameters + "0800 00000000", sized(unique))


def sealed_data() -> bytes:
    """TPMT_PUBLIC of a sealed data object."""
    return _public(0x0008, SEALED, "0010", sized(b""))


def creation(public: bytes, data: bytes = b"") -> bytes:
    """Parameters of Create and CreatePrimary: no authorization value, no outside information."""
    return sized(sized(b"") + sized(data)) + sized(public) + sized(b"") + bytes(4)


def command(
    code: int, handles: tuple[int, ...] = (), parameters: bytes = b"", authorizations: bytes = b""
) -> bytes:
    """A command, with sessions when there are authorizations."""
    area = struct.pack(">I", len(authorizations)) + authorizations if authorizations else b""
    body = b"".join(struct.pack(">I", handle) for handle in handles) + area + parameters
    tag = 0x8002 if authorizations else 0x8001
    return struct.pack(">HII", tag, 10 + len(body), code) + body


PASSWORD = struct.pack(">IHBH", PASSWORD_SESSION, 0, 0, 0)
"""The authorization of an entity whose authorization value is empty."""


@dataclass(frozen=True)
class Response:
    """A successful response: its handle, if the command returns one, and its parameters."""

    handle: int
    parameters: bytes
    sessions: bytes


class RefusedError(Exception):
    """The TPM answered with another response code than success."""


def response(data: bytes, *, with_handle: bool = False) -> Response:
    tag, _, code = struct.unpack_from(">HII", data)
    if code:
        raise RefusedError(f"response code {code:#x}")
    handle, at = 0, 10
    if with_handle:
        (handle,), at = struct.unpack_from(">I", data, at), at + 4
    if tag != 0x8002:
        return Response(handle, data[at:], b"")
    (size,), at = struct.unpack_from(">I", data, at), at + 4
    return Response(handle, data[at : at + size], data[at + size :])


def first_sized(data: bytes, count: int = 1) -> list[bytes]:
    """The first TPM2Bs of some parameters, without their sizes."""
    parts, at = [], 0
    for _ in range(count):
        (size,) = struct.unpack_from(">H", data, at)
        parts.append(data[at + 2 : at + 2 + size])
        at += 2 + size
    return parts

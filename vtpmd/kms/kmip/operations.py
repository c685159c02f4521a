"""The operations of KMIP 1.4 (chapter 4) that vtpmd uses, each as a `Request`.

Keys are AES-256 and named by the server's unique identifier, a text.
"""

from dataclasses import dataclass

from ..gcm import KEK_SIZE, TAG_SIZE
from .constants import (
    AttributeName,
    BlockCipherMode,
    CryptographicAlgorithm,
    CryptographicUsageMask,
    KeyFormatType,
    NameType,
    ObjectType,
    Operation,
    QueryFunction,
    RevocationReasonCode,
    State,
    Tag,
)
from .messages import Request, read_version
from .ttlv import (
    Item,
    TtlvError,
    Type,
    boolean,
    enumeration,
    integer,
    octets,
    structure,
    text,
)

_LONGEST_IDENTIFIER = 256  # characters; the standard has no limit, but a slot needs one


@dataclass(frozen=True)
class Server:
    """A server's description of itself: its vendor and the operations that it offers."""

    vendor: str
    operations: frozenset[int]


def discover_versions() -> Request[list[tuple[int, int]]]:
    """The protocol versions that the server supports, the preferred one first (4.26)."""

    def read(payload: Item) -> list[tuple[int, int]]:
        return [read_version(item) for item in payload.all(Tag.PROTOCOL_VERSION)]

    return Request(Operation.DISCOVER_VERSIONS, (), read)


def query() -> Request[Server]:
    """What the server is and can do (4.25)."""

    def read(payload: Item) -> Server:
        numbers = (item.typed(Type.ENUMERATION).value for item in payload.all(Tag.OPERATION))
        vendor = payload.find(Tag.VENDOR_IDENTIFICATION)
        return Server(
            vendor="" if vendor is None else str(vendor.typed(Type.TEXT_STRING).value),
            operations=frozenset(number for number in numbers if isinstance(number, int)),
        )

    asked = (QueryFunction.OPERATIONS, QueryFunction.SERVER_INFORMATION)
    functions = tuple(enumeration(Tag.QUERY_FUNCTION, function) for function in asked)
    return Request(Operation.QUERY, functions, read)


def create(name: str, sensitive: bool) -> Request[str]:
    """Make a key and return its identifier (4.1); a `sensitive` one never leaves the server."""
    mask = CryptographicUsageMask.ENCRYPT | CryptographicUsageMask.DECRYPT
    attributes = [
        _attribute(
            AttributeName.CRYPTOGRAPHIC_ALGORITHM,
            enumeration(Tag.ATTRIBUTE_VALUE, CryptographicAlgorithm.AES),
        ),
        _attribute(AttributeName.CRYPTOGRAPHIC_LENGTH, integer(Tag.ATTRIBUTE_VALUE, 8 * KEK_SIZE)),
        _attribute(AttributeName.CRYPTOGRAPHIC_USAGE_MASK, integer(Tag.ATTRIBUTE_VALUE, mask)),
        _name(name),
    ]
    if sensitive:
        attributes.append(_attribute(AttributeName.SENSITIVE, boolean(Tag.ATTRIBUTE_VALUE, True)))
    payload = (
        enumeration(Tag.OBJECT_TYPE, ObjectType.SYMMETRIC_KEY),
        structure(Tag.TEMPLATE_ATTRIBUTE, *attributes),
    )
    return Request(Operation.CREATE, payload, _read_identifier, repeatable=False)


def locate(name: str) -> Request[list[str]]:
    """The identifiers of all keys with this name (4.9)."""

    def read(payload: Item) -> list[str]:
        return [_checked_identifier(item) for item in payload.all(Tag.UNIQUE_IDENTIFIER)]

    return Request(Operation.LOCATE, (_name(name),), read)


def get_state(key: str) -> Request[State]:
    """The state of a key, by Get Attributes (4.12)."""

    def read(payload: Item) -> State:
        _check_identifier(payload, key)
        states = [
            attribute.number(Tag.ATTRIBUTE_VALUE, Type.ENUMERATION)
            for attribute in payload.all(Tag.ATTRIBUTE)
            if attribute.text(Tag.ATTRIBUTE_NAME) == AttributeName.STATE
        ]
        if len(states) != 1:
            raise TtlvError(f"it gives {len(states)} states of a key")
        try:
            return State(states[0])
        except ValueError:
            raise TtlvError(f"it gives an unknown state of a key: {states[0]}") from None

    wanted = (_identifier(key), text(Tag.ATTRIBUTE_NAME, AttributeName.STATE))
    return Request(Operation.GET_ATTRIBUTES, wanted, read)


def get(key: str) -> Request[bytearray]:
    """The key itself, 32 octets (4.11), which the caller wipes."""

    def read(payload: Item) -> bytearray:
        _check_identifier(payload, key)
        block = payload.structure(Tag.SYMMETRIC_KEY).structure(Tag.KEY_BLOCK)
        form = block.number(Tag.KEY_FORMAT_TYPE, Type.ENUMERATION)
        if form != KeyFormatType.RAW:
            raise TtlvError(f"it gives a key in format {form}, not raw")
        material = block.structure(Tag.KEY_VALUE).octets(Tag.KEY_MATERIAL)
        if len(material) != KEK_SIZE:
            raise TtlvError(f"it gives a key of {len(material)} octets, not {KEK_SIZE}")
        return material

    wanted = (_identifier(key), enumeration(Tag.KEY_FORMAT_TYPE, KeyFormatType.RAW))
    return Request(Operation.GET, wanted, read)


def activate(key: str) -> Request[None]:
    """Activate a key (4.19)."""
    return Request(Operation.ACTIVATE, (_identifier(key),), _read_nothing, repeatable=False)


def revoke(key: str) -> Request[None]:
    """Deactivate a key that is no longer needed (4.20)."""
    code = enumeration(Tag.REVOCATION_REASON_CODE, RevocationReasonCode.CESSATION_OF_OPERATION)
    payload = (_identifier(key), structure(Tag.REVOCATION_REASON, code))
    return Request(Operation.REVOKE, payload, _read_nothing, repeatable=False)


def destroy(key: str) -> Request[None]:
    """Destroy a key permanently (4.21)."""
    return Request(Operation.DESTROY, (_identifier(key),), _read_nothing, repeatable=False)


def encrypt(key: str, plaintext: bytes | bytearray, iv: bytes, aad: bytes) -> Request[bytes]:
    """Encrypt with AES-GCM at the server (4.29); returns ciphertext and tag, concatenated."""

    def read(payload: Item) -> bytes:
        _check_identifier(payload, key)
        ciphertext = payload.octets(Tag.DATA)
        tag = payload.octets(Tag.AUTHENTICATED_ENCRYPTION_TAG)
        if (len(ciphertext), len(tag)) != (len(plaintext), TAG_SIZE):
            raise TtlvError(
                f"it gives {len(ciphertext)} octets of ciphertext and {len(tag)} of tag, "
                f"not {len(plaintext)} and {TAG_SIZE}"
            )
        return bytes(ciphertext + tag)

    return Request(Operation.ENCRYPT, _gcm(key, plaintext, iv, aad), read)


def decrypt(key: str, encrypted: bytes, iv: bytes, aad: bytes) -> Request[bytearray]:
    """Decrypt what `encrypt` returned (4.30); the caller wipes the result."""
    ciphertext, tag = encrypted[:-TAG_SIZE], encrypted[-TAG_SIZE:]

    def read(payload: Item) -> bytearray:
        _check_identifier(payload, key)
        plaintext = payload.octets(Tag.DATA)
        if len(plaintext) != len(ciphertext):
            raise TtlvError(f"it gives {len(plaintext)} octets of plaintext, not {len(ciphertext)}")
        return plaintext

    payload = (
        *_gcm(key, ciphertext, iv, aad),
        octets(Tag.AUTHENTICATED_ENCRYPTION_TAG, tag),
    )
    return Request(Operation.DECRYPT, payload, read)


def _gcm(key: str, data: bytes | bytearray, iv: bytes, aad: bytes) -> tuple[Item, ...]:
    return (
        _identifier(key),
        structure(
            Tag.CRYPTOGRAPHIC_PARAMETERS,
            enumeration(Tag.BLOCK_CIPHER_MODE, BlockCipherMode.GCM),
            enumeration(Tag.CRYPTOGRAPHIC_ALGORITHM, CryptographicAlgorithm.AES),
            integer(Tag.TAG_LENGTH, TAG_SIZE),
        ),
        octets(Tag.DATA, data),
        octets(Tag.IV_COUNTER_NONCE, iv),
        octets(Tag.AUTHENTICATED_ENCRYPTION_ADDITIONAL_DATA, aad),
    )


def _attribute(name: AttributeName, value: Item) -> Item:
    return structure(Tag.ATTRIBUTE, text(Tag.ATTRIBUTE_NAME, name), value)


def _name(name: str) -> Item:
    value = structure(
        Tag.ATTRIBUTE_VALUE,
        text(Tag.NAME_VALUE, name),
        enumeration(Tag.NAME_TYPE, NameType.UNINTERPRETED_TEXT_STRING),
    )
    return _attribute(AttributeName.NAME, value)


def _identifier(key: str) -> Item:
    return text(Tag.UNIQUE_IDENTIFIER, key)


def _read_identifier(payload: Item) -> str:
    return _checked_identifier(payload.field(Tag.UNIQUE_IDENTIFIER))


def _checked_identifier(item: Item) -> str:
    identifier = str(item.typed(Type.TEXT_STRING).value)
    if not 0 < len(identifier) <= _LONGEST_IDENTIFIER:
        raise TtlvError(f"it gives a key's identifier of {len(identifier)} characters")
    return identifier


def _check_identifier(payload: Item, key: str) -> None:
    if payload.text(Tag.UNIQUE_IDENTIFIER) != key:
        raise TtlvError("it answers with another key than the one asked for")


def _read_nothing(payload: Item) -> None:
    return None

"""Tags and enumerations of KMIP 1.4 (9.1.3), as far as vtpmd sends or reads them."""

from enum import IntEnum, IntFlag, StrEnum


class Tag(IntEnum):
    """What an item is (9.1.3.1)."""

    ATTRIBUTE = 0x420008
    ATTRIBUTE_NAME = 0x42000A
    ATTRIBUTE_VALUE = 0x42000B
    BATCH_COUNT = 0x42000D
    BATCH_ITEM = 0x42000F
    BLOCK_CIPHER_MODE = 0x420011
    CRYPTOGRAPHIC_ALGORITHM = 0x420028
    CRYPTOGRAPHIC_PARAMETERS = 0x42002B
    IV_COUNTER_NONCE = 0x42003D
    KEY_BLOCK = 0x420040
    KEY_FORMAT_TYPE = 0x420042
    KEY_MATERIAL = 0x420043
    KEY_VALUE = 0x420045
    MAXIMUM_RESPONSE_SIZE = 0x420050
    NAME_TYPE = 0x420054
    NAME_VALUE = 0x420055
    OBJECT_TYPE = 0x420057
    OPERATION = 0x42005C
    PROTOCOL_VERSION = 0x420069
    PROTOCOL_VERSION_MAJOR = 0x42006A
    PROTOCOL_VERSION_MINOR = 0x42006B
    QUERY_FUNCTION = 0x420074
    REQUEST_HEADER = 0x420077
    REQUEST_MESSAGE = 0x420078
    REQUEST_PAYLOAD = 0x420079
    RESPONSE_HEADER = 0x42007A
    RESPONSE_MESSAGE = 0x42007B
    RESPONSE_PAYLOAD = 0x42007C
    RESULT_MESSAGE = 0x42007D
    RESULT_REASON = 0x42007E
    RESULT_STATUS = 0x42007F
    REVOCATION_REASON = 0x420081
    REVOCATION_REASON_CODE = 0x420082
    SYMMETRIC_KEY = 0x42008F
    TEMPLATE_ATTRIBUTE = 0x420091
    UNIQUE_IDENTIFIER = 0x420094
    VENDOR_IDENTIFICATION = 0x42009D
    DATA = 0x4200C2
    TAG_LENGTH = 0x4200CE
    AUTHENTICATED_ENCRYPTION_ADDITIONAL_DATA = 0x4200FE
    AUTHENTICATED_ENCRYPTION_TAG = 0x4200FF


class Operation(IntEnum):
    """What a request asks for (9.1.3.2.27)."""

    CREATE = 0x01
    LOCATE = 0x08
    GET = 0x0A
    GET_ATTRIBUTES = 0x0B
    ACTIVATE = 0x12
    REVOKE = 0x13
    DESTROY = 0x14
    QUERY = 0x18
    DISCOVER_VERSIONS = 0x1E
    ENCRYPT = 0x1F
    DECRYPT = 0x20

    def __str__(self) -> str:
        """As the standard writes it: `Get Attributes`."""
        return _plain(self.name)


class ResultStatus(IntEnum):
    """How an operation ended (9.1.3.2.28)."""

    SUCCESS = 0
    OPERATION_FAILED = 1
    OPERATION_PENDING = 2
    OPERATION_UNDONE = 3


class ResultReason(IntEnum):
    """Why an operation failed (9.1.3.2.29)."""

    ITEM_NOT_FOUND = 0x01
    RESPONSE_TOO_LARGE = 0x02
    AUTHENTICATION_NOT_SUCCESSFUL = 0x03
    INVALID_MESSAGE = 0x04
    OPERATION_NOT_SUPPORTED = 0x05
    MISSING_DATA = 0x06
    INVALID_FIELD = 0x07
    FEATURE_NOT_SUPPORTED = 0x08
    OPERATION_CANCELED_BY_REQUESTER = 0x09
    CRYPTOGRAPHIC_FAILURE = 0x0A
    ILLEGAL_OPERATION = 0x0B
    PERMISSION_DENIED = 0x0C
    OBJECT_ARCHIVED = 0x0D
    INDEX_OUT_OF_BOUNDS = 0x0E
    APPLICATION_NAMESPACE_NOT_SUPPORTED = 0x0F
    KEY_FORMAT_TYPE_NOT_SUPPORTED = 0x10
    KEY_COMPRESSION_TYPE_NOT_SUPPORTED = 0x11
    ENCODING_OPTION_ERROR = 0x12
    KEY_VALUE_NOT_PRESENT = 0x13
    ATTESTATION_REQUIRED = 0x14
    ATTESTATION_FAILED = 0x15
    SENSITIVE = 0x16
    NOT_EXTRACTABLE = 0x17
    OBJECT_ALREADY_EXISTS = 0x18
    GENERAL_FAILURE = 0x100

    def __str__(self) -> str:
        """As the standard writes it: `Item Not Found`."""
        return _plain(self.name)


class State(IntEnum):
    """Where a key is in its life (9.1.3.2.18)."""

    PRE_ACTIVE = 1
    ACTIVE = 2
    DEACTIVATED = 3
    COMPROMISED = 4
    DESTROYED = 5
    DESTROYED_COMPROMISED = 6

    def __str__(self) -> str:
        """As the standard writes it: `Pre Active`."""
        return _plain(self.name)


DESTROYED = (State.DESTROYED, State.DESTROYED_COMPROMISED)


class AttributeName(StrEnum):
    """Attributes have names, not numbers, in KMIP 1 (chapter 3)."""

    CRYPTOGRAPHIC_ALGORITHM = "Cryptographic Algorithm"
    CRYPTOGRAPHIC_LENGTH = "Cryptographic Length"
    CRYPTOGRAPHIC_USAGE_MASK = "Cryptographic Usage Mask"
    NAME = "Name"
    SENSITIVE = "Sensitive"
    STATE = "State"


class CryptographicUsageMask(IntFlag):
    """What a key may be used for (9.1.3.3.1)."""

    ENCRYPT = 0x04
    DECRYPT = 0x08


class BlockCipherMode(IntEnum):
    """9.1.3.2.14."""

    GCM = 0x09


class CryptographicAlgorithm(IntEnum):
    """9.1.3.2.13."""

    AES = 0x03


class KeyFormatType(IntEnum):
    """9.1.3.2.3."""

    RAW = 0x01


class NameType(IntEnum):
    """9.1.3.2.11."""

    UNINTERPRETED_TEXT_STRING = 0x01


class ObjectType(IntEnum):
    """9.1.3.2.12."""

    SYMMETRIC_KEY = 0x02


class QueryFunction(IntEnum):
    """What a Query is about (9.1.3.2.24)."""

    OPERATIONS = 0x01
    SERVER_INFORMATION = 0x03


class RevocationReasonCode(IntEnum):
    """9.1.3.2.19."""

    CESSATION_OF_OPERATION = 0x06


def _plain(name: str) -> str:
    return name.replace("_", " ").title()

"""The control protocol as tables: commands, result codes, blob types, capability bits.

Everything on the wire is big endian. A request is a u32 command and a body; a response begins with
a u32 result.
"""

from dataclasses import dataclass
from enum import Enum, IntEnum, IntFlag


class Result(IntEnum):
    """TPM 1.2 codes; RETRY means "no such state" and is not an error to a client."""

    SUCCESS = 0x00
    BAD_PARAMETER = 0x03
    FAIL = 0x09
    BAD_ORDINAL = 0x0A
    SIZE = 0x17
    IOERROR = 0x1F
    DECRYPT_ERROR = 0x21
    BAD_DATASIZE = 0x2B
    BAD_VERSION = 0x2E
    BAD_LOCALITY = 0x3D
    RETRY = 0x800


class Capability(IntFlag):
    INIT = 1 << 0
    SHUTDOWN = 1 << 1
    GET_TPMESTABLISHED = 1 << 2
    SET_LOCALITY = 1 << 3
    HASHING = 1 << 4
    CANCEL_TPM_CMD = 1 << 5
    STORE_VOLATILE = 1 << 6
    RESET_TPMESTABLISHED = 1 << 7
    GET_STATEBLOB = 1 << 8
    SET_STATEBLOB = 1 << 9
    STOP = 1 << 10
    GET_CONFIG = 1 << 11
    SET_DATAFD = 1 << 12
    SET_BUFFERSIZE = 1 << 13
    GET_INFO = 1 << 14
    SEND_COMMAND_HEADER = 1 << 15
    LOCK_STORAGE = 1 << 16


CAPABILITIES = ~Capability(0)


class BlobType(IntEnum):
    PERMANENT = 1
    VOLATILE = 2
    SAVESTATE = 3


BLOB_ENCRYPTED = 2
INIT_DELETE_VOLATILE = 1
MAX_LOCALITY = 4
MAX_STATEBLOB = 512 * 1024
MAX_INFO_CHUNK = 3072


class Requires(Enum):
    """What a command demands of the TPM."""

    ANY = "any"
    RUNNING = "running"
    STOPPED = "stopped"


class Turn(Enum):
    """How a control command gets along with a TPM command that is still being executed."""

    AT_ONCE = "at once"
    AFTER = "after"
    CANCELS = "cancels"  # it ends the running command first: nobody would read its response


class Stream(Enum):
    """Data behind the fixed body, its length the body's last field."""

    NONE = "none"
    WHOLE = "whole"
    CHUNKS = "chunks"


@dataclass(frozen=True)
class Shape:
    """One row: body and response layouts (`struct` notation), preconditions, quirks.

    `padded`: QEMU sends three more octets than tpm2-tss. `exact`: whatever else came in the
    same receive makes the body malformed. `full_errors`: clients read a whole response blindly,
    so an error has the success layout too.
    """

    body: str
    response: str
    requires: Requires = Requires.ANY
    turn: Turn = Turn.AFTER
    stream: Stream = Stream.NONE
    padded: bool = False
    exact: bool = False
    full_errors: bool = False


class Command(IntEnum):
    """The control commands: number and shape. `control` must have a handler for each."""

    shape: Shape

    def __new__(cls, code: int, shape: Shape) -> "Command":
        command = int.__new__(cls, code)
        command._value_ = code
        command.shape = shape
        return command

    GET_CAPABILITY = 0x01, Shape(">", ">II", turn=Turn.AT_ONCE)
    INIT = 0x02, Shape(">I", ">I", turn=Turn.CANCELS, exact=True)
    SHUTDOWN = 0x03, Shape(">", ">I", turn=Turn.CANCELS)
    GET_TPMESTABLISHED = (
        0x04,
        Shape(">", ">IB3x", Requires.RUNNING, turn=Turn.AT_ONCE, full_errors=True),
    )
    SET_LOCALITY = 0x05, Shape(">B", ">I", turn=Turn.AT_ONCE, padded=True)
    HASH_START = 0x06, Shape(">", ">I", Requires.RUNNING)
    HASH_DATA = 0x07, Shape(">I", ">I", Requires.RUNNING, stream=Stream.CHUNKS)
    HASH_END = 0x08, Shape(">", ">I", Requires.RUNNING)
    CANCEL_TPM_CMD = 0x09, Shape(">", ">I", Requires.RUNNING, turn=Turn.AT_ONCE)
    STORE_VOLATILE = 0x0A, Shape(">", ">I", Requires.RUNNING)
    RESET_TPMESTABLISHED = 0x0B, Shape(">B", ">I", Requires.RUNNING, padded=True)
    GET_STATEBLOB = 0x0C, Shape(">III", ">IIII", Requires.RUNNING, full_errors=True)
    SET_STATEBLOB = 0x0D, Shape(">III", ">I", Requires.STOPPED, stream=Stream.WHOLE)
    STOP = 0x0E, Shape(">", ">I", turn=Turn.CANCELS)
    GET_CONFIG = 0x0F, Shape(">", ">II", turn=Turn.AT_ONCE)
    SET_DATAFD = 0x10, Shape(">", ">I", turn=Turn.AT_ONCE)
    SET_BUFFERSIZE = 0x11, Shape(">I", ">IIII", turn=Turn.AT_ONCE)
    GET_INFO = 0x12, Shape(">QII", ">III", turn=Turn.AT_ONCE)
    LOCK_STORAGE = 0x13, Shape(">I", ">I")


COMMANDS = {int(command): command for command in Command}

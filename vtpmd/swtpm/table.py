"""The control protocol as tables: commands, result codes, blob types, capability bits.

Everything on the wire is big endian. A request is a u32 command and a body; a response begins with
a u32 result.
"""

from dataclasses import dataclass
from enum import Enum, IntEnum, IntFlag


class Command(IntEnum):
    GET_CAPABILITY = 0x01
    INIT = 0x02
    SHUTDOWN = 0x03
    GET_TPMESTABLISHED = 0x04
    SET_LOCALITY = 0x05
    HASH_START = 0x06
    HASH_DATA = 0x07
    HASH_END = 0x08
    CANCEL_TPM_CMD = 0x09
    STORE_VOLATILE = 0x0A
    RESET_TPMESTABLISHED = 0x0B
    GET_STATEBLOB = 0x0C
    SET_STATEBLOB = 0x0D
    STOP = 0x0E
    GET_CONFIG = 0x0F
    SET_DATAFD = 0x10
    SET_BUFFERSIZE = 0x11
    GET_INFO = 0x12
    LOCK_STORAGE = 0x13


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
MIN_BUFFER = 2808
MAX_BUFFER = 4096


class Power(Enum):
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
    """One row: body and response layouts (``struct`` notation), preconditions, quirks.

    ``padded``: QEMU sends three more octets than tpm2-tss. ``exact``: whatever else came in the
    same receive makes the body malformed. ``full_errors``: clients read a whole response blindly,
    so an error has the success layout too.
    """

    body: str
    response: str
    power: Power = Power.ANY
    turn: Turn = Turn.AFTER
    stream: Stream = Stream.NONE
    padded: bool = False
    exact: bool = False
    full_errors: bool = False


SHAPES: dict[Command, Shape] = {
    Command.GET_CAPABILITY: Shape(">", ">II", turn=Turn.AT_ONCE),
    Command.INIT: Shape(">I", ">I", turn=Turn.CANCELS, exact=True),
    Command.SHUTDOWN: Shape(">", ">I", turn=Turn.CANCELS),
    Command.GET_TPMESTABLISHED: Shape(
        ">", ">IB3x", Power.RUNNING, turn=Turn.AT_ONCE, full_errors=True
    ),
    Command.SET_LOCALITY: Shape(">B", ">I", turn=Turn.AT_ONCE, padded=True),
    Command.HASH_START: Shape(">", ">I", Power.RUNNING),
    Command.HASH_DATA: Shape(">I", ">I", Power.RUNNING, stream=Stream.CHUNKS),
    Command.HASH_END: Shape(">", ">I", Power.RUNNING),
    Command.CANCEL_TPM_CMD: Shape(">", ">I", Power.RUNNING, turn=Turn.AT_ONCE),
    Command.STORE_VOLATILE: Shape(">", ">I", Power.RUNNING),
    Command.RESET_TPMESTABLISHED: Shape(">B", ">I", Power.RUNNING, padded=True),
    Command.GET_STATEBLOB: Shape(">III", ">IIII", Power.RUNNING, full_errors=True),
    Command.SET_STATEBLOB: Shape(">III", ">I", Power.STOPPED, stream=Stream.WHOLE),
    Command.STOP: Shape(">", ">I", turn=Turn.CANCELS),
    Command.GET_CONFIG: Shape(">", ">II", turn=Turn.AT_ONCE),
    Command.SET_DATAFD: Shape(">", ">I", turn=Turn.AT_ONCE),
    Command.SET_BUFFERSIZE: Shape(">I", ">IIII", turn=Turn.AT_ONCE),
    Command.GET_INFO: Shape(">QII", ">III", turn=Turn.AT_ONCE),
    Command.LOCK_STORAGE: Shape(">I", ">I", turn=Turn.AT_ONCE),
}

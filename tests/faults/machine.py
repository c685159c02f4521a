"""A virtual machine as its TPM sees it: a control connection, a data channel and some commands."""

import contextlib
import struct
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from tests.bench.encoding import (
    CREATE,
    CREATE_PRIMARY,
    GET_CAPABILITY,
    GET_RANDOM,
    NV_DEFINE_SPACE,
    NV_READ,
    NV_WRITE,
    OWNER,
    PASSWORD,
    PASSWORD_SESSION,
    PCR_16,
    PCR_16_OF_SHA256,
    PCR_EXTEND,
    PCR_READ,
    SHA256,
    STORAGE,
    command,
    creation,
    ecc,
    first_sized,
    response,
    sized,
)
from tests.peers.client import CMD_INIT, CMD_STOP, STARTUP_CLEAR, Control, DataSocket
from tests.peers.vtpmd import VtpmdInstance

LOCKOUT = 0x4000000A
NV_INCREMENT = 0x134
DICTIONARY_ATTACK_PARAMETERS = 0x13A
TPM_CAP_TPM_PROPERTIES = 6
TPM_PT_LOCKOUT_COUNTER = 0x20E

RC_AUTH_FAIL = 0x98E  # TPM_RC_AUTH_FAIL of the first session
RC_CANCELED = 0x909
RC_COMMAND_SIZE = 0x142
RC_FAILURE = 0x101
RC_NV_UNAVAILABLE = 0x923

INDEX, COUNTER, GUARDED = 0x01500001, 0x01500002, 0x01500003
INDEX_SIZE = 64
_OWNER_WRITE, _AUTH_WRITE, _COUNTER = 1 << 1, 1 << 2, 1 << 4
_OWNER_READ, _AUTH_READ, _NO_DA = 1 << 17, 1 << 18, 1 << 25
_ACCESS = _OWNER_WRITE | _AUTH_WRITE | _OWNER_READ | _AUTH_READ


class UnexpectedError(Exception):
    """The TPM answered with another response code than success: `code`."""

    def __init__(self, code: int) -> None:
        super().__init__(f"response code {code:#x}")
        self.code = code


def password(value: bytes) -> bytes:
    """The authorization by a password."""
    return struct.pack(">IHB", PASSWORD_SESSION, 0, 0) + sized(value)


def create_rsa(parent: int, bits: int) -> bytes:
    """TPM2_Create of an RSA signing key: the longest command there is."""
    template = struct.pack(">HHIHHHHIH", 1, 0x000B, 0x00040072, 0, 0x10, 0x10, bits, 0, 0)
    return command(CREATE, (parent,), creation(template), PASSWORD)


class Machine:
    """A machine that has just been reset and whose firmware has sent TPM2_Startup.

    With `incoming`, it is one that waits for what it will `take_in`.
    """

    def __init__(
        self, instance: VtpmdInstance, timeout: float = 30.0, *, incoming: bool = False
    ) -> None:
        with contextlib.ExitStack() as stack:
            self.control = stack.enter_context(Control(instance.control, timeout))
            if not incoming:
                self.control.power_on()
            self.data = self.control.data_channel()
            stack.callback(self.data.close)
            if not incoming:
                self.succeed(STARTUP_CLEAR)
            self._open = stack.pop_all()

    def take_in(self, state: Mapping[int, bytes]) -> None:
        """Go on where a machine on another host was, or this one when it was saved."""
        self.control.command(CMD_STOP)
        self.control.write_state(state)
        self.control.command(CMD_INIT, bytes(4))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._open.close()

    def cut(self) -> None:
        """Its process is gone, whatever it was about to do."""
        self.control.cut()
        self.data.cut()

    def code(self, message: bytes) -> int:
        """The response code of a command."""
        return int.from_bytes(self.data.execute(message)[6:10], "big")

    def succeed(self, message: bytes, *, with_handle: bool = False) -> tuple[int, bytes]:
        """Handle and parameters of a successful response. Raises UnexpectedError."""
        answer = self.data.execute(message)
        if code := int.from_bytes(answer[6:10], "big"):
            raise UnexpectedError(code)
        found = response(answer, with_handle=with_handle)
        return found.handle, found.parameters

    # --- NV -------------------------------------------------------------------------------

    def define_indices(self, auth: bytes = b"") -> None:
        """INDEX (INDEX_SIZE octets), COUNTER, and GUARDED, whose failures count for the lockout.

        The lockout itself is far away: at 1000 failures, of which none is forgotten in a day.
        """
        day = 24 * 3600
        area = struct.pack(">III", 1000, day, day)
        self.succeed(command(DICTIONARY_ATTACK_PARAMETERS, (LOCKOUT,), area, PASSWORD))
        self.succeed(define_command(INDEX, INDEX_SIZE, auth=auth))
        self.succeed(define_command(COUNTER, 8, _ACCESS | _NO_DA | _COUNTER, auth))
        self.succeed(define_command(GUARDED, 8, _ACCESS, b"right"))
        self.write(bytes(INDEX_SIZE))
        self.increment()
        self.succeed(write_command(bytes(8), GUARDED))

    def write(self, content: bytes) -> None:
        """TPM2_NV_Write of INDEX."""
        self.succeed(write_command(content))

    def read(self) -> bytes:
        """TPM2_NV_Read of INDEX."""
        return self._read(INDEX, INDEX_SIZE)

    def increment(self) -> None:
        """TPM2_NV_Increment of COUNTER."""
        self.succeed(INCREMENT)

    def count(self) -> int:
        """The value of COUNTER."""
        return int.from_bytes(self._read(COUNTER, 8), "big")

    def _read(self, index: int, size: int) -> bytes:
        area = struct.pack(">HH", size, 0)
        _, parameters = self.succeed(command(NV_READ, (OWNER, index), area, PASSWORD))
        return first_sized(parameters)[0]

    def lockout_counter(self) -> int:
        """TPM_PT_LOCKOUT_COUNTER: failed authorizations so far."""
        area = struct.pack(">III", TPM_CAP_TPM_PROPERTIES, TPM_PT_LOCKOUT_COUNTER, 1)
        _, parameters = self.succeed(command(GET_CAPABILITY, (), area))
        return int.from_bytes(parameters[-4:], "big")

    # --- what is volatile ---------------------------------------------------------------------

    def extend(self, digest: bytes) -> None:
        """TPM2_PCR_Extend of PCR 16 of SHA-256."""
        area = struct.pack(">I", 1) + SHA256 + digest
        self.succeed(command(PCR_EXTEND, (PCR_16,), area, PASSWORD))

    def pcr(self) -> bytes:
        """The value of PCR 16 of SHA-256."""
        _, parameters = self.succeed(command(PCR_READ, (), PCR_16_OF_SHA256))
        return parameters[-32:]

    def storage_key(self) -> int:
        """The handle of a fresh primary storage key."""
        message = command(CREATE_PRIMARY, (OWNER,), creation(ecc(STORAGE)), PASSWORD)
        return self.succeed(message, with_handle=True)[0]


def define_command(
    index: int, size: int, attributes: int = _ACCESS | _NO_DA, auth: bytes = b""
) -> bytes:
    """TPM2_NV_DefineSpace."""
    public = struct.pack(">I", index) + SHA256 + struct.pack(">IHH", attributes, 0, size)
    return command(NV_DEFINE_SPACE, (OWNER,), sized(auth) + sized(public), PASSWORD)


def write_command(content: bytes, index: int = INDEX) -> bytes:
    """TPM2_NV_Write at offset 0, authorized by the owner."""
    return command(NV_WRITE, (OWNER, index), sized(content) + bytes(2), PASSWORD)


INCREMENT = command(NV_INCREMENT, (OWNER, COUNTER), b"", PASSWORD)
WRONG_PASSWORD = command(NV_READ, (GUARDED, GUARDED), struct.pack(">HH", 8, 0), password(b"wrong"))
RANDOM = command(GET_RANDOM, (), struct.pack(">H", 8))


def answers(instance: VtpmdInstance) -> bool:
    """Whether a TPM that is on answers a tool's command."""
    return DataSocket(instance.data).execute(RANDOM)[6:10] == bytes(4)

"""TPM_RC values (Part 2, 6.6) and the exceptions of the engine."""

from enum import IntEnum

FORMAT_ONE = 0x080
PARAMETER = 0x040
SESSION = 0x800
_POSITION_BITS = 0xF40


class RC(IntEnum):
    """Response codes. Those of format one (bit 7 set) can carry a position."""

    SUCCESS = 0x000
    BAD_TAG = 0x01E
    # RC_VER1: format zero
    INITIALIZE = 0x100
    FAILURE = 0x101
    SEQUENCE = 0x103
    DISABLED = 0x120
    EXCLUSIVE = 0x121
    AUTH_TYPE = 0x124
    AUTH_MISSING = 0x125
    POLICY = 0x126
    PCR = 0x127
    PCR_CHANGED = 0x128
    UPGRADE = 0x12D
    TOO_MANY_CONTEXTS = 0x12E
    AUTH_UNAVAILABLE = 0x12F
    REBOOT = 0x130
    UNBALANCED = 0x131
    COMMAND_SIZE = 0x142
    COMMAND_CODE = 0x143
    AUTHSIZE = 0x144
    AUTH_CONTEXT = 0x145
    NV_RANGE = 0x146
    NV_SIZE = 0x147
    NV_LOCKED = 0x148
    NV_AUTHORIZATION = 0x149
    NV_UNINITIALIZED = 0x14A
    NV_SPACE = 0x14B
    NV_DEFINED = 0x14C
    BAD_CONTEXT = 0x150
    CPHASH = 0x151
    PARENT = 0x152
    NEEDS_TEST = 0x153
    NO_RESULT = 0x154
    SENSITIVE = 0x155
    READ_ONLY = 0x156
    # RC_FMT1
    ASYMMETRIC = 0x081
    ATTRIBUTES = 0x082
    HASH = 0x083
    VALUE = 0x084
    HIERARCHY = 0x085
    KEY_SIZE = 0x087
    MGF = 0x088
    MODE = 0x089
    TYPE = 0x08A
    HANDLE = 0x08B
    KDF = 0x08C
    RANGE = 0x08D
    AUTH_FAIL = 0x08E
    NONCE = 0x08F
    PP = 0x090
    SCHEME = 0x092
    SIZE = 0x095
    SYMMETRIC = 0x096
    TAG = 0x097
    SELECTOR = 0x098
    INSUFFICIENT = 0x09A
    SIGNATURE = 0x09B
    KEY = 0x09C
    POLICY_FAIL = 0x09D
    INTEGRITY = 0x09F
    TICKET = 0x0A0
    RESERVED_BITS = 0x0A1
    BAD_AUTH = 0x0A2
    EXPIRED = 0x0A3
    POLICY_CC = 0x0A4
    BINDING = 0x0A5
    CURVE = 0x0A6
    ECC_POINT = 0x0A7
    FW_LIMITED = 0x0A8
    SVN_LIMITED = 0x0A9
    PARMS = 0x0AA
    EXT_MU = 0x0AB
    ONE_SHOT_SIGNATURE = 0x0AC
    SIGN_CONTEXT_KEY = 0x0AD
    CHANNEL = 0x0B0
    CHANNEL_KEY = 0x0B1
    # RC_WARN
    CONTEXT_GAP = 0x901
    OBJECT_MEMORY = 0x902
    SESSION_MEMORY = 0x903
    MEMORY = 0x904
    SESSION_HANDLES = 0x905
    OBJECT_HANDLES = 0x906
    LOCALITY = 0x907
    YIELDED = 0x908
    CANCELED = 0x909
    TESTING = 0x90A
    REFERENCE_H0 = 0x910
    REFERENCE_S0 = 0x918
    NV_RATE = 0x920
    LOCKOUT = 0x921
    RETRY = 0x922
    NV_UNAVAILABLE = 0x923


class EngineError(Exception):
    """The base of all exceptions that this package raises for bad input."""


class TpmError(EngineError):
    """A command failed; `code` is what the guest sees.

    Actions raise `TpmError(RC.SCHEME, at="in_scheme")` and never compute positions: the
    dispatcher knows which handle or parameter of the running command has that name. A code that
    already carries a position, or that is format zero, is left as it is (Part 2, 6.6.2).
    """

    def __init__(self, code: int, at: str | None = None) -> None:
        super().__init__(code, at)
        self.code = int(code)
        self.at = at

    def handle(self, number: int) -> "TpmError":
        """This error, positioned at handle `number` (from 1)."""
        return self._positioned(number << 8)

    def parameter(self, number: int) -> "TpmError":
        """This error, positioned at parameter `number` (from 1)."""
        return self._positioned(PARAMETER | number << 8)

    def session(self, number: int) -> "TpmError":
        """This error, positioned at session `number` (from 1)."""
        return self._positioned(SESSION | number << 8)

    def _positioned(self, bits: int) -> "TpmError":
        if self.code & FORMAT_ONE and not self.code & _POSITION_BITS:
            self.code |= bits
        return self

    def __str__(self) -> str:
        return f"TPM_RC 0x{self.code:03x}" + (f" at {self.at}" if self.at else "")


class _Located:
    """A context manager of its own: a generator's costs three times as much."""

    __slots__ = ("_at",)

    def __init__(self, at: str) -> None:
        self._at = at

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        if isinstance(error, TpmError) and error.at is None:
            error.at = self._at


def located(at: str) -> _Located:
    """Position the errors raised inside at handle or parameter `at`, unless they have one."""
    return _Located(at)

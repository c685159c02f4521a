"""Commands and response codes by the names of Part 2, for people who read a log."""

from .rc import FORMAT_ONE, PARAMETER, RC, SESSION
from .wire.constants import CC

_WITHOUT_POSITION = 0x0BF
_NUMBER_SHIFT, _NUMBER, _SESSION_NUMBER = 8, 0xF, 0x7


def command_name(code: int) -> str:
    """Such as `TPM_CC_CREATE_PRIMARY`, or the number of a command that there is not."""
    try:
        return f"TPM_CC_{CC(code).name}"
    except ValueError:
        return f"TPM_CC 0x{code:08x}"


def response_name(code: int) -> str:
    """Such as `TPM_RC_VALUE (parameter 2)` of 0x2c4 (Part 2, 6.6.2), or the number."""
    base, position = code, ""
    if code & FORMAT_ONE:
        base = code & _WITHOUT_POSITION
        number = code >> _NUMBER_SHIFT & _NUMBER
        if code & PARAMETER:
            position = f" (parameter {number})"
        elif code & SESSION:
            position = f" (session {number & _SESSION_NUMBER})"
        elif number:
            position = f" (handle {number})"
    try:
        return f"TPM_RC_{RC(base).name}{position}"
    except ValueError:
        return f"TPM_RC 0x{code:03x}"

"""Where the engine answers another code than swtpm 0.7.1 with libtpms 0.9.2, and why.

One table: a differential test accepts a difference that is listed here and no other.
"""

from collections.abc import Callable
from dataclasses import dataclass

from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.constants import CC, RH

_POSITION = 0xF40
_FORMAT_ONE = 0x080


@dataclass(frozen=True)
class Difference:
    """``applies(command, our code, their code)``: codes of format one lack their positions."""

    reason: str
    applies: Callable[[bytes, int, int], bool]


def _code(command: bytes) -> int:
    return int.from_bytes(command[6:10])


def _has_timer(command: bytes) -> bool:
    handles = (int.from_bytes(command[start : start + 4]) for start in (10, 14, 18))
    return any(RH.ACT_0 <= handle <= RH.ACT_F for handle in handles)


def _codes(ours: int, *theirs: int) -> Callable[[bytes, int, int], bool]:
    return lambda command, our, their: our == ours and their in theirs


DIFFERENCES = (
    Difference(
        "commands that libtpms 0.9.2 (revision 164) does not have",
        lambda command, ours, theirs: (
            _code(command) >= CC.ACT_SET_TIMEOUT and theirs == RC.COMMAND_CODE
        ),
    ),
    Difference(
        "a certificate of CertifyX509 is signed by a key (Part 3, 18.8), never by TPM_RH_NULL",
        lambda command, ours, theirs: _code(command) == CC.CERTIFY_X509 and ours == RC.VALUE,
    ),
    Difference(
        "a tag that is none of a command's is answered with the code of Part 2, table 15",
        _codes(RC.BAD_TAG, RC.VALUE),
    ),
    Difference(
        "a tag that no structure has is RC_TAG in a ticket (Part 2, 10.6), not RC_VALUE",
        _codes(RC.TAG, RC.VALUE),
    ),
    Difference(
        "auditExclusive and auditReset need audit (Part 2, 8.4); libtpms ignores them without",
        lambda command, ours, theirs: ours == RC.ATTRIBUTES and theirs in (0, RC.AUTH_UNAVAILABLE),
    ),
    Difference(
        "TDES is not offered: an unknown algorithm, where libtpms looks at its key size",
        _codes(RC.SYMMETRIC, RC.VALUE, RC.INSUFFICIENT),
    ),
    Difference(
        "RSA-4096 allows longer secrets and signatures: what is too long for libtpms ends early",
        _codes(RC.INSUFFICIENT, RC.SIZE),
    ),
    Difference(
        "persistent objects are used where they are; libtpms copies them into a free slot",
        lambda command, ours, theirs: theirs == RC.OBJECT_MEMORY,
    ),
    Difference(
        "Part 3, 9.3: a resume after another H-CRTM start fails with RC_LOCALITY",
        lambda command, ours, theirs: (
            (_code(command), ours, theirs) == (CC.STARTUP, RC.LOCALITY, RC.VALUE)
        ),
    ),
    Difference(
        "countdown timers are implemented; libtpms 0.9.2 has none",
        lambda command, ours, theirs: _has_timer(command),
    ),
    Difference(
        "handles of external NV (version 184) are in range, so the next handle is the first wrong",
        lambda command, ours, theirs: _code(command) == CC.POLICY_NV and ours == theirs == RC.VALUE,
    ),
)


def _without_position(code: int) -> int:
    return code & ~_POSITION if code & _FORMAT_ONE else code


def explains(command: bytes, ours: int, theirs: int) -> str | None:
    """The reason of a difference that is known."""
    ours, theirs = _without_position(ours), _without_position(theirs)
    for difference in DIFFERENCES:
        if difference.applies(command, ours, theirs):
            return difference.reason
    return None

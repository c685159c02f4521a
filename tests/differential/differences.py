"""Where the engine answers another code than swtpm 0.7.1 with libtpms 0.9.2, and why.

One table: a differential test accepts a difference that is listed here and no other.
"""

from collections.abc import Callable
from dataclasses import dataclass

from tests.tpm.areas import words
from vtpmd.tpm.command import COMMANDS
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.constants import ALG, CC, RH

_POSITION = 0xF40
_FORMAT_ONE = 0x080


NEWER = CC.ACT_SET_TIMEOUT
"""The first of the commands that libtpms 0.9.2 (revision 164) does not have."""
NOT_IN_LIBTPMS = frozenset(
    {f"CC.{code.name}" for code in CC if code >= NEWER}
    | {f"ALG.{alg.name}" for alg in (ALG.SHA3_256, ALG.SHA3_384, ALG.SHA3_512)}
)

_MAKING_OBJECTS = frozenset(
    {CC.CREATE, CC.CREATE_PRIMARY, CC.CREATE_LOADED, CC.LOAD, CC.LOAD_EXTERNAL, CC.IMPORT}
)


@dataclass(frozen=True)
class Difference:
    """`applies(command code, our code, their code)`: codes of format one lack their positions."""

    reason: str
    applies: Callable[[int, int, int], bool] | None = None
    handles: tuple[int, int] | None = None
    """Or a range that one of the command's handles is in."""
    octets: bytes = b""
    """Only for commands with these octets."""


def _codes(ours: int, *theirs: int) -> Callable[[int, int, int], bool]:
    return lambda code, our, their: our == ours and their in theirs


DIFFERENCES = (
    Difference(
        "commands that libtpms 0.9.2 (revision 164) does not have",
        lambda code, ours, theirs: code >= NEWER and theirs == RC.COMMAND_CODE,
    ),
    Difference(
        "a certificate of CertifyX509 is signed by a key (Part 3, 18.8), never by TPM_RH_NULL",
        lambda code, ours, theirs: code == CC.CERTIFY_X509 and ours == RC.VALUE and theirs != 0,
    ),
    Difference(
        "Debian's libtpms mixes up the handles of CertifyX509 in its codes; later versions don't",
        lambda code, ours, theirs: code == CC.CERTIFY_X509 and ours == theirs,
    ),
    Difference(
        "usages and attributes that a key has not are RC_ATTRIBUTES (Part 3, 18.8), not RC_VALUE",
        lambda code, ours, theirs: (
            (code, ours, theirs) == (CC.CERTIFY_X509, RC.ATTRIBUTES, RC.VALUE)
        ),
    ),
    Difference(
        "a point off its curve is not certified; libtpms takes the public area as it is",
        lambda code, ours, theirs: (code, ours, theirs) == (CC.CERTIFY_X509, RC.KEY, 0),
    ),
    Difference(
        "CertifyX509 for a signer without nameAlg fails; libtpms 0.9.2 goes to failure mode",
        lambda code, ours, theirs: (code, ours, theirs) == (CC.CERTIFY_X509, RC.HASH, RC.FAILURE),
    ),
    Difference(
        "a certificate with an extension twice is refused: only one of them would be checked",
        lambda code, ours, theirs: (code, ours, theirs) == (CC.CERTIFY_X509, RC.VALUE, 0),
    ),
    Difference(
        "a quote without a key is by the hash asked for (18.4, NOTE 3); libtpms refuses",
        lambda code, ours, theirs: (code, ours, theirs) == (CC.QUOTE, 0, RC.SCHEME),
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
        lambda code, ours, theirs: ours == RC.ATTRIBUTES and theirs in (0, RC.AUTH_UNAVAILABLE),
    ),
    Difference(
        "TDES is not offered: an unknown algorithm, where libtpms looks at its key size",
        _codes(RC.SYMMETRIC, RC.VALUE, RC.INSUFFICIENT),
    ),
    Difference(
        "default-v1 has no RSA keys of 1024 bits",
        _codes(RC.VALUE, 0, RC.INSUFFICIENT),
        octets=(1024).to_bytes(2),
    ),
    Difference(
        "default-v1 has no SM2",
        lambda code, ours, theirs: ours == RC.SCHEME,
        octets=ALG.SM2.to_bytes(2),
    ),
    Difference(
        "default-v1 has the curves P-256, P-384 and P-521 and no others",
        lambda code, ours, theirs: ours == RC.CURVE,
    ),
    Difference(
        "default-v1 lacks TDES, SM2 and ECMQV, which libtpms can be asked to test",
        lambda code, ours, theirs: (
            code == CC.INCREMENTAL_SELF_TEST and (ours, theirs) == (RC.VALUE, 0)
        ),
    ),
    Difference(
        "RSA-4096 allows longer secrets and signatures: what is too long for libtpms ends early",
        _codes(RC.INSUFFICIENT, RC.SIZE),
    ),
    Difference(
        "persistent objects are used where they are; libtpms copies them into a free slot",
        lambda code, ours, theirs: theirs == RC.OBJECT_MEMORY,
    ),
    Difference(
        "libtpms 0.9.2 goes to failure mode over an HMAC session for a public-only object",
        lambda code, ours, theirs: (
            ours in (RC.AUTH_UNAVAILABLE, RC.AUTH_TYPE) and theirs == RC.FAILURE
        ),
    ),
    Difference(
        "Debian's libtpms says of a parameter what later versions and Part 3 say of the sequence",
        lambda code, ours, theirs: code == CC.SEQUENCE_UPDATE and ours == theirs == RC.MODE,
    ),
    Difference(
        "orderly indices share 512 octets in libtpms, and all of NV here",
        lambda code, ours, theirs: (code, ours, theirs) == (CC.NV_DEFINE_SPACE, 0, RC.NV_SPACE),
    ),
    Difference(
        "all of an index is certified without a key only by a hash (31.16, NOTE 5)",
        lambda code, ours, theirs: (code, ours, theirs) == (CC.NV_CERTIFY, RC.SCHEME, 0),
    ),
    Difference(
        "signed numbers have two's complement (23.9, 23.10), and not a sign and a magnitude",
        lambda code, ours, theirs: (
            code in (CC.POLICY_NV, CC.POLICY_COUNTER_TIMER) and {ours, theirs} == {0, RC.POLICY}
        ),
    ),
    Difference(
        "Part 3, 9.3: a resume after another H-CRTM start fails with RC_LOCALITY",
        lambda code, ours, theirs: (code, ours, theirs) == (CC.STARTUP, RC.LOCALITY, RC.VALUE),
    ),
    Difference(
        "version 185 has further object attributes, which are reserved bits for libtpms",
        lambda code, ours, theirs: theirs == RC.RESERVED_BITS,
    ),
    Difference(
        "x509sign is for asymmetric keys that sign (Part 2, 8.3.3.15)",
        lambda code, ours, theirs: code in _MAKING_OBJECTS and (ours, theirs) == (RC.ATTRIBUTES, 0),
    ),
    Difference(
        "public areas can be made persistent since version 185 (28.5)",
        lambda code, ours, theirs: (
            (code, theirs) == (CC.EVICT_CONTROL, RC.ATTRIBUTES) and ours != RC.ATTRIBUTES
        ),
    ),
    Difference(
        "no private area of a derived object leaves the TPM (Part 1, 24.1); libtpms makes one that"
        " nothing can load",
        lambda code, ours, theirs: (code, ours, theirs) == (CC.OBJECT_CHANGE_AUTH, RC.TYPE, 0),
    ),
    Difference(
        "nothing is protected for a key without nameAlg: there would be no HMAC",
        lambda code, ours, theirs: (
            code in (CC.MAKE_CREDENTIAL, CC.DUPLICATE, CC.REWRAP)
            and ours == RC.VALUE
            and theirs in (0, RC.KEY)
        ),
    ),
    Difference(
        "TPM2_Clear leaves clearCount alone (Part 1, table 41): what a restart has ended stays so",
        lambda code, ours, theirs: (code, ours, theirs) == (CC.CONTEXT_LOAD, RC.INTEGRITY, 0),
    ),
    Difference(
        "countdown timers are implemented; libtpms 0.9.2 has none",
        handles=(RH.ACT_0, RH.ACT_F),
    ),
    Difference(
        "handles of external NV (version 184) are those of indices that are never defined",
        handles=(0x11000000, 0x12FFFFFF),
    ),
)


def is_newer(public: bytes) -> bool:
    """Whether a public area has what libtpms 0.9.2 does not know: new attributes, AES-192."""
    return bool(public[6:7] and public[6] & 0x03) or words(ALG.AES, 192) in public


def _without_position(code: int) -> int:
    return code & ~_POSITION if code & _FORMAT_ONE else code


def _has_handle(command: bytes, first: int, last: int) -> bool:
    spec = COMMANDS.get(int.from_bytes(command[6:10]))
    ends = range(14, 14 + 4 * len(spec.handles), 4) if spec is not None else range(0)
    return any(first <= int.from_bytes(command[end - 4 : end]) <= last for end in ends)


def explains(command: bytes, ours: int, theirs: int) -> str | None:
    """The reason of a difference that is known."""
    code = int.from_bytes(command[6:10])
    ours, theirs = _without_position(ours), _without_position(theirs)
    for difference in DIFFERENCES:
        if difference.octets not in command[10:]:
            continue
        if difference.applies is not None and difference.applies(code, ours, theirs):
            return difference.reason
        if difference.handles is not None and _has_handle(command, *difference.handles):
            return difference.reason
    return None

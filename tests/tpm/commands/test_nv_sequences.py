"""Long random sequences of NV commands: a TPM of ours and a real swtpm never disagree."""

from random import Random

import pytest

from tests.tpm.commands.nv_area import (
    ALL_RW,
    INDEX,
    Area,
    access,
    define,
    of_type,
    read,
    undefine,
    write,
)
from tests.tpm.harness import Password, Result, Tester, sized
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.attributes import TPMA_NV
from vtpmd.tpm.wire.constants import CC, NT, RH, SU

INDICES = range(INDEX, INDEX + 4)
AUTHORITIES = (None, None, RH.OWNER, RH.PLATFORM, INDEX)
OPTIONS = (
    TPMA_NV.WRITEALL,
    TPMA_NV.WRITEDEFINE,
    TPMA_NV.WRITE_STCLEAR,
    TPMA_NV.GLOBALLOCK,
    TPMA_NV.READ_STCLEAR,
    TPMA_NV.CLEAR_STCLEAR,
    TPMA_NV.ORDERLY,
)
SIZES = {NT.ORDINARY: 12, NT.EXTEND: 32}
PIN = b"pin"


KINDS = (
    *("define", "undefine", "lock") * 2,
    *("write", "read", "update") * 4,
    *("global", "power"),
)


class Walk:
    """Draws commands; the same seed draws the same ones."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)

    def step(self) -> tuple[str, tuple[object, ...]]:
        """A kind of command and what it needs."""
        kind = self._random.choice(KINDS)
        index, by = self._random.choice(INDICES), self._random.choice(AUTHORITIES)
        password = Password(self._random.choice((PIN, PIN, PIN, b"guess")))
        if by in (RH.OWNER, RH.PLATFORM):
            password = Password()
        match kind:
            case "define":
                return kind, (self._area(index), self._random.choice((RH.OWNER, RH.PLATFORM)))
            case "undefine":
                return kind, (index, self._random.choice((RH.OWNER, RH.PLATFORM)))
            case "write":
                size = self._random.choice((0, 1, 8, 12, 13))
                data = bytes(self._random.choices((0, 0, 0, 1, 2, 255), k=size))
                return kind, (data, self._random.choice((0, 0, 0, 4, 12, 13)), index, by, password)
            case "read":
                size = self._random.choice((0, 8, 12, 32))
                return kind, (size, self._random.choice((0, 0, 1, 8)), index, by, password)
            case "update":
                updates = (
                    (CC.NV_INCREMENT, b""),
                    (CC.NV_EXTEND, sized(b"x")),
                    (CC.NV_SET_BITS, self._random.randbytes(8)),
                )
                return kind, (*self._random.choice(updates), index, by, password)
            case "lock":
                code = self._random.choice((CC.NV_READ_LOCK, CC.NV_WRITE_LOCK))
                return "update", (code, b"", index, by, password)
            case "power":
                kinds_of_start = ((SU.STATE, SU.STATE), (SU.STATE, SU.CLEAR), (SU.CLEAR, SU.CLEAR))
                return kind, self._random.choice(kinds_of_start)
            case _:
                return kind, ()

    def _area(self, index: int) -> Area:
        nt = self._random.choice(list(NT))
        options = sum(option for option in OPTIONS if self._random.random() < 0.2)
        if nt in (NT.ORDINARY, NT.PIN_PASS, NT.PIN_FAIL) and self._random.random() < 0.5:
            options |= TPMA_NV.WRITEALL
        allowed = ALL_RW & self._random.getrandbits(32) | TPMA_NV.OWNERREAD | TPMA_NV.OWNERWRITE
        created = self._random.choice((0, TPMA_NV.PLATFORMCREATE))
        attributes = of_type(nt) | options | allowed | created | TPMA_NV.NO_DA
        return Area(attributes, SIZES.get(nt, 8), index)


def perform(tester: Tester, kind: str, arguments: tuple[object, ...]) -> Result:
    """Run a step."""
    match kind, arguments:
        case "define", (Area() as area, int(by)):
            return define(tester, area, auth=PIN, by=by)
        case "write", (bytes(data), _, int(index), *_) if is_first_of_a_part(tester, index, data):
            # What is not written then is all ones in libtpms, all zeros here; both are allowed.
            return Result(RC.NV_RANGE)
        case "undefine", (int(index), int(by)):
            return undefine(tester, index, by=by)
        case "write", (bytes(data), int(offset), int(index), by, Password() as auth):
            return write(tester, data, offset, index=index, by=_handle(by), auth=auth)
        case "read", (int(size), int(offset), int(index), by, Password() as auth):
            return read(tester, size, offset, index=index, by=_handle(by), auth=auth)
        case "update", (int(code), bytes(params), int(index), by, Password() as auth):
            return access(tester, code, params, index=index, by=_handle(by), auth=auth)
        case "global", ():
            return tester.run(CC.NV_GLOBAL_WRITE_LOCK, [RH.OWNER], auths=[Password()])
        case "power", (int(shutdown), int(startup)):
            assert tester.run(CC.SHUTDOWN, params=shutdown.to_bytes(2)).rc == 0
            tester.peer.reset()
            return Result(tester.startup(startup))
        case _:
            raise AssertionError(kind)


def is_first_of_a_part(tester: Tester, index: int, data: bytes) -> bool:
    """Whether an index has not been written, and would not be completely."""
    public = tester.run(CC.NV_READ_PUBLIC, [index])
    if public.rc:
        return False
    attributes, size = int.from_bytes(public.sized()[6:10]), int.from_bytes(public.sized()[-2:])
    return not attributes & TPMA_NV.WRITTEN and len(data) < size


def _handle(by: object) -> int | None:
    assert by is None or isinstance(by, int)
    return by


@pytest.mark.parametrize("seed", range(3))
def test_no_sequence_tells_the_two_apart(both: tuple[Tester, Tester], seed: int) -> None:
    walk, history, succeeded = Walk(seed), [], 0
    for _ in range(400):
        kind, arguments = walk.step()
        history.append((kind, arguments))
        ours, theirs = (perform(tester, kind, arguments) for tester in both)
        assert (hex(ours.rc), ours.parameters) == (hex(theirs.rc), theirs.parameters), history[-12:]
        succeeded += ours.rc == 0
        publics = [[tester.run(CC.NV_READ_PUBLIC, [index]) for index in INDICES] for tester in both]
        assert publics[0] == publics[1], history[-12:]
    assert succeeded > 40

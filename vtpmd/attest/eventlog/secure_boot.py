"""Whether Secure Boot was on, from the events of PCR 7 (PFP 3.3.4.8), or why nobody can tell.

An event counts only if its digest covers it, and the sequence has to be the one that firmware
makes: with anything unexpected in it the answer is that it can't be told.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from ..errors import MalformedError
from .coverage import Kind, coverage
from .log import Event
from .types import EV, type_name
from .variables import (
    GLOBAL,
    IMAGE_SECURITY,
    SHIM_LOCK,
    SignatureLists,
    Variable,
    parse_signature_lists,
    parse_variable,
)

PCR: Final = 7
_SEPARATOR: Final = bytes(4)
_DEBUG: Final = b"UEFI Debug Mode"
_DMA: Final = (b"DMA Protection Disabled", b"DMA Protection Disabled\0")

_SETTINGS: Final = frozenset((GLOBAL, name) for name in ("SecureBoot", "PK", "KEK"))
"""What firmware measures before the separator, and nobody is authorized by."""


@dataclass(frozen=True)
class SecureBoot:
    """`enabled` is None if it can't be told; `reason` says why it is what it is."""

    enabled: bool | None
    reason: str
    db_certs: tuple[str, ...] = ()
    """SHA-256 of the certificates in db, in hexadecimal."""
    dbx_hashes: tuple[str, ...] = ()
    """The hashes of images that dbx refuses, in hexadecimal."""
    dma_protection: bool = True


class _UnclearError(Exception):
    """It can't be told, for the reason in the text."""


@dataclass
class _Seen:
    """What the events have told so far."""

    variables: dict[tuple[str, object], Variable]
    separated: bool = False
    authorities: int = 0
    debug: bool = False
    shim_verifies: bool = True
    dma_protection: bool = True


def secure_boot(events: Iterable[Event], alg: int | None) -> SecureBoot:
    """Judge the measured events of PCR 7, whose digests in the bank of `alg` are proven.

    None stands for no such bank.
    """
    if alg is None:
        return SecureBoot(None, "PCR 7 is not proven")
    seen = _Seen({})
    try:
        for event in events:
            if event.measured and event.pcr == PCR:
                _take(seen, event, alg)
        return _judged(seen)
    except _UnclearError as error:
        return SecureBoot(None, str(error))
    except MalformedError as error:
        return SecureBoot(None, f"PCR 7 has {error}")


def _take(seen: _Seen, event: Event, alg: int) -> None:
    where = f"event {event.number} ({type_name(event.type)})"
    covered = coverage(event, alg)
    if covered.kind in (Kind.NONE, Kind.WRONG):  # a part is enough of shim's authorities alone
        raise _UnclearError(f"the digest of {where} does not cover its data")
    octets = covered.octets  # all that is proven: the rest of the data, and the type, are not
    if (octets == _SEPARATOR) != (event.type == EV.SEPARATOR):
        raise _UnclearError(f"{where} is no separator, or hides one")
    if octets.rstrip(b"\0") == _DEBUG:
        seen.debug = True
        return
    if octets in _DMA:
        seen.dma_protection = False
        return
    match event.type:
        case EV.SEPARATOR:
            if seen.separated:
                raise _UnclearError("PCR 7 has two separators")
            seen.separated = True
        case EV.EFI_VARIABLE_DRIVER_CONFIG:
            if seen.separated:
                raise _UnclearError(f"{where} follows the separator")
            variable = parse_variable(octets)
            if seen.variables.setdefault((variable.name, variable.vendor), variable) != variable:
                raise _UnclearError(f"PCR 7 has two values of {variable.name}")
        case EV.EFI_VARIABLE_AUTHORITY:
            seen.authorities += 1
            seen.shim_verifies &= not _tells_shim_to_pass(event, octets)
        case _:
            raise _UnclearError(f"{where} does not belong into PCR 7")


def _tells_shim_to_pass(event: Event, octets: bytes) -> bool:
    """Whether it is MokSBState, with which shim starts what nobody has signed."""
    for measured, whole in ((octets, True), (octets + b"\0", False)):  # old shim: all but one octet
        with suppress(MalformedError):
            variable = parse_variable(measured)
            if (variable.vendor, variable.name) in _SETTINGS:
                raise _UnclearError(f"event {event.number} is no authority, but {variable.name}")
            told = not whole or variable.value != b"\0"
            return (variable.vendor, variable.name) == (SHIM_LOCK, "MokSBState") and told
    return False


def _judged(seen: _Seen) -> SecureBoot:
    if not seen.separated:
        raise _UnclearError("PCR 7 has no separator")
    setting = seen.variables.get(("SecureBoot", GLOBAL))
    if setting is None or len(setting.value) > 1:
        raise _UnclearError("PCR 7 has no variable SecureBoot, or a strange one")
    db, dbx = _lists(seen, "db"), _lists(seen, "dbx")
    enabled, reason = _verdict(seen, setting.value)
    return SecureBoot(
        enabled,
        reason,
        tuple(sha256(certificate).hexdigest() for certificate in db.certificates),
        tuple(each.hex() for each in dbx.hashes),
        seen.dma_protection,
    )


def _verdict(seen: _Seen, setting: bytes) -> tuple[bool, str]:
    if setting != b"\x01":
        return False, "the variable SecureBoot says so"
    if seen.debug:
        return False, "the firmware was in debug mode"
    if not seen.shim_verifies:
        return False, "shim has been told to start anything (MokSBState)"
    needed = {"PK": GLOBAL, "KEK": GLOBAL, "db": IMAGE_SECURITY}
    for name, vendor in needed.items():
        variable = seen.variables.get((name, vendor))
        if variable is None or not variable.value:
            raise _UnclearError(f"the variable SecureBoot is 1 without {name}")
    if not seen.authorities:
        raise _UnclearError("the variable SecureBoot is 1, and nothing was authorized by it")
    return True, "the variable SecureBoot says so"


def _lists(seen: _Seen, name: str) -> SignatureLists:
    variable = seen.variables.get((name, IMAGE_SECURITY))
    return parse_signature_lists(variable.value if variable else b"")

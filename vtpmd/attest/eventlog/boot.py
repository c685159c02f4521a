"""What has been booted, as far as proven digests cover it."""

import codecs
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from .coverage import Coverage, Kind, coverage
from .log import Event, Log
from .secure_boot import PCR as SECURE_BOOT_PCR
from .secure_boot import SecureBoot, secure_boot
from .types import EV

Proven = Mapping[int, int]
"""PCR -> the bank in which its value is proven to be what the log's events make."""

_FIRMWARE_PCR: Final = 0
_APPLICATIONS_PCR: Final = 4
_GRUB_PCR: Final = 8
_STUB_PCR: Final = 12
_GRUB_LABEL: Final = b"kernel_cmdline: "
_SEPARATOR: Final = bytes(4)
_MAX_NOTICE: Final = 256
MAX_TEXT: Final = 4096
"""Characters of a text that are looked at; a longer one is not told."""

_UTF_16: Final = codecs.lookup("utf-16-le")  # imported now, not while the first log is read

_APART: Final = frozenset({EV.SEPARATOR, EV.EFI_ACTION, EV.ACTION, EV.OMIT_BOOT_DEVICE_EVENTS})
"""What PCR 4 has besides applications, if the digest covers it."""


@dataclass(frozen=True)
class Boot:
    """Facts of a boot. What is not proven is absent."""

    secure_boot: SecureBoot
    firmware_version: str | None
    """Of the S-CRTM."""
    applications: tuple[bytes, ...] | None
    """Authenticode digests of all that was started, in the order of PCR 4; None: not proven."""
    command_lines: tuple[str, ...]
    """Of kernels, as GRUB and systemd-stub measure them."""


def boot_facts(log: Log, proven: Proven) -> Boot:
    """What the log proves, given in which bank each PCR is proven."""
    measured = [event for event in log.events if event.measured and event.pcr in proven]
    covered = [(event, coverage(event, proven[event.pcr])) for event in measured]
    return Boot(
        secure_boot(measured, proven.get(SECURE_BOOT_PCR)),
        next(_firmware_versions(covered), None),
        tuple(_applications(covered, proven)) if _APPLICATIONS_PCR in proven else None,
        tuple(dict.fromkeys(_command_lines(covered))),
    )


def altered(log: Log, proven: Proven) -> list[Event]:
    """The events of proven PCRs whose data have been changed after they were measured."""
    return [
        event
        for event in log.events
        if event.measured
        and event.pcr in proven
        and coverage(event, proven[event.pcr]).kind is Kind.WRONG
    ]


def _firmware_versions(covered: Iterable[tuple[Event, Coverage]]) -> Iterator[str]:
    for event, proof in covered:
        if event.pcr != _FIRMWARE_PCR:
            continue
        if proof.octets == _SEPARATOR:  # whoever runs from here on can measure anything
            return
        if (event.type, proof.kind) == (EV.S_CRTM_VERSION, Kind.ALL):
            text = _utf16(proof.octets)
            yield proof.octets[:MAX_TEXT].hex() if text is None else text


def _applications(covered: Iterable[tuple[Event, Coverage]], proven: Proven) -> Iterator[bytes]:
    """Everything in PCR 4 that is not proven to be something else, whatever type it claims."""
    for event, proof in covered:
        if event.pcr != _APPLICATIONS_PCR or _is_notice(event, proof):
            continue
        yield event.digests[proven[_APPLICATIONS_PCR]]


def _is_notice(event: Event, proof: Coverage) -> bool:
    """Whether the octets themselves are a notice, and no preimage of an application's digest."""
    if proof.kind is not Kind.ALL or event.type not in _APART:
        return False
    if event.type == EV.SEPARATOR:
        return len(proof.octets) == len(_SEPARATOR)
    text = proof.octets.rstrip(b"\0")
    return len(text) <= _MAX_NOTICE and text.isascii() and text.decode("ascii").isprintable()


def _command_lines(covered: Sequence[tuple[Event, Coverage]]) -> Iterator[str]:
    """None of a PCR with an event whose text is not proven: that may be the kernel's own."""
    unknown = {event.pcr for event, proof in covered if proof.kind is Kind.NONE}
    for event, proof in covered:
        if event.pcr in unknown:
            continue
        if proof.kind not in (Kind.ALL, Kind.PART) or len(proof.octets) > MAX_TEXT:
            continue
        if event.pcr == _GRUB_PCR and event.data.startswith(_GRUB_LABEL):
            yield proof.octets.rstrip(b"\0").decode("utf-8", "backslashreplace")
        elif event.pcr == _STUB_PCR and (text := _utf16(proof.octets)):
            yield text  # whatever type the event claims


def _utf16(octets: bytes) -> str | None:
    """A text in ASCII, which firmware and systemd-stub write as UTF-16; None if it is none."""
    try:
        text = _UTF_16.decode(octets[: 2 * MAX_TEXT])[0].rstrip("\0")
    except UnicodeDecodeError:
        return None
    return text if text.isascii() and "\0" not in text else None

"""Whether a firmware for virtual machines has been built with support for TPM 2.0.

A build of OVMF holds its drivers in a volume that is compressed (LZMA), as a section of the kind
that a GUID defines (UEFI PI 1.7, volume 3, 3.2.5.7): header, GUID, offset of the data. Drivers are
named in it in UTF-16.
"""

import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from .finding import Found, bad, ok, unknown, warning

_LZMA_SECTION: Final = bytes.fromhex("98584eee143959429d6edc7bd79403cf")
_BEFORE_GUID: Final = 4
"""Octets of a section's header: its size (3) and type (1)."""
_DRIVER: Final = "Tcg2Dxe".encode("utf-16-le")
_MAX_FILE: Final = 32 << 20
_MAX_VOLUME: Final = 64 << 20
_PLACES: Final = (
    "usr/share/OVMF/OVMF_CODE*.fd",
    "usr/share/edk2/ovmf/OVMF_CODE*.fd",
    "usr/share/edk2/x64/OVMF_CODE*.fd",
    "usr/share/qemu/ovmf-x86_64*-code.bin",
)
"""Of Debian, Fedora, Arch and openSUSE."""


def look(root: Path) -> Iterator[Found]:
    """What there is below `root`, and whether a guest's firmware measures into a TPM with it."""
    files = sorted({path.resolve() for place in _PLACES for path in root.glob(place)})
    if not files:
        yield warning(
            "no OVMF is installed here: without UEFI nothing is measured into the TPM",
            "install ovmf (Debian) or edk2-ovmf (Fedora)",
        )
        return
    capable = []
    for path in files:
        try:
            supports = has_tpm2(path)
        except OSError as error:
            yield unknown(f"{path}: {error.strerror}")
            continue
        if supports is None:
            yield unknown(f"{path} has no volume that can be read")
        elif supports:
            capable.append(path)
        else:
            yield bad(
                f"{path} was built without TPM 2.0", "use another build (TPM2_ENABLE), or remove it"
            )
    if capable:
        names = ", ".join(path.name for path in capable)
        yield ok(f"{names} in {capable[0].parent}: with TPM 2.0")


def has_tpm2(path: Path) -> bool | None:
    """Whether the TCG2 driver is in the firmware; None if no volume can be read. Raises OSError."""
    with path.open("rb") as file:
        data = file.read(_MAX_FILE)
    volumes = list(_volumes(data))
    return any(_DRIVER in volume for volume in volumes) if volumes else None


def _volumes(data: bytes) -> Iterator[bytes]:
    """The content of each compressed section."""
    at = data.find(_LZMA_SECTION)
    while at >= 0:
        end = at + len(_LZMA_SECTION)
        start = at - _BEFORE_GUID + int.from_bytes(data[end : end + 2], "little")
        try:
            unpacking = lzma.LZMADecompressor(lzma.FORMAT_ALONE)
            yield unpacking.decompress(data[start:], _MAX_VOLUME)
        except lzma.LZMAError:
            pass  # the same octets by chance
        at = data.find(_LZMA_SECTION, end)

"""A reader of the permanent state of libtpms as swtpm stores it (tpm2-00.permall).

Independent of vtpmd: it shares no code with it, so that seeds, proofs and sensitive areas taken
from a real swtpm can judge what vtpmd derives. It reads what the tests need of unencrypted states
of libtpms 0.8 to 0.10 and fails on everything else.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

PERSISTENT_ALL = 0xAB364723
COMPILE_CONSTANTS = 0xC9EA6431
PERSISTENT_DATA = 0x12213443
INDEX_ORDERLY_RAM = 0x5346FEAB
USER_NVRAM = 0x094F22C3
NV_INDEX = 0x2547265A
ANY_OBJECT = 0xFE9A3974
OBJECT = 0x75BE73AF

_TLV_PLAIN_DATA = 1
_ALG_NULL = 0x0010
_ALG_XOR = 0x000A
_ALG_ECDAA = 0x001A
_ALG_RSAES = 0x0015


@dataclass(frozen=True)
class PersistentObject:
    """What a persistent object keeps secret, and its Name."""

    handle: int
    public: bytes
    auth: bytes
    seed_value: bytes
    sensitive: bytes
    name: bytes


@dataclass(frozen=True)
class State:
    """Seeds, proofs and compatibility levels by hierarchy letter; objects by handle."""

    seeds: dict[str, bytes]
    proofs: dict[str, bytes]
    levels: dict[str, int]
    objects: dict[int, PersistentObject]


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.offset = 0

    def take(self, size: int) -> bytes:
        end = self.offset + size
        if end > len(self.data):
            raise ValueError("state ends early")
        self.offset, start = end, self.offset
        return self.data[start:end]

    def integer(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def sized(self) -> bytes:
        return self.take(self.integer(2))

    def header(self, magic: int) -> int:
        """Version of the structure that begins here with `magic`."""
        version = self.integer(2)
        if self.integer(4) != magic:
            raise ValueError(f"structure 0x{magic:08x} expected")
        if version >= 2:
            self.integer(2)
        return version

    def block(self) -> "_Reader | None":
        """The optional block that begins here, skipped as a whole."""
        present = self.integer(1)
        content = self.take(self.integer(2))
        return _Reader(content) if present else None


def read(path: Path) -> State:
    """The state in the file at `path`. ValueError if it is not one this reader knows."""
    reader = _Reader(_plain_data(path.read_bytes()))
    version = reader.header(PERSISTENT_ALL)
    if version >= 4:
        reader.sized()
    if reader.header(COMPILE_CONSTANTS) < 2:
        raise ValueError("state older than this reader")
    reader.take(4 * reader.integer(4))
    reader.block()
    seeds, proofs, levels = _persistent_data(reader)
    # Clock, generator and orderly state of the TPM lie between; nothing in them can look like
    # the header of the next part, whose version and magic are searched for.
    reader.offset = reader.data.index(INDEX_ORDERLY_RAM.to_bytes(4, "big"), reader.offset) - 2
    _skip_orderly_ram(reader)
    return State(seeds, proofs, levels, _user_nvram(reader))


def _plain_data(blob: bytes) -> bytes:
    _, _, header_size, flags, total = struct.unpack_from(">BBHHI", blob)
    if flags or total != len(blob):
        raise ValueError("only whole, unencrypted blobs are read")
    tag, size = struct.unpack_from(">HI", blob, header_size)
    if tag != _TLV_PLAIN_DATA:
        raise ValueError("no plain data")
    return blob[header_size + 6 : header_size + 6 + size]


def _persistent_data(
    reader: _Reader,
) -> tuple[dict[str, bytes], dict[str, bytes], dict[str, int]]:
    reader.header(PERSISTENT_DATA)
    reader.take(1 + 3 * 2)  # disableClear, policy algorithms
    for _ in range(6):  # policies and authValues of owner, endorsement, lockout
        reader.sized()
    seeds = {hierarchy: reader.sized() for hierarchy in "eop"}
    proofs = {hierarchy: reader.sized() for hierarchy in "poe"}
    reader.take(8 + 4)  # totalResetCount, resetCount
    reader.block()
    _skip_pcr_selection(reader)
    reader.sized()  # ppList
    reader.take(4 * 4 + 1 + 2)  # dictionary attack parameters, lockOutAuthEnabled, orderlyState
    reader.sized()  # auditCommands
    reader.take(2 + 8 + 4 + 4 + 4)  # audit algorithm and counter, algorithmSet, firmware version
    reader.take(reader.integer(1))  # timeEpoch
    levels = dict.fromkeys("eop", 0)
    shadow = reader.block()
    if shadow is not None:
        _skip_pcr_selection(shadow)
        compatibility = shadow.block()
        if compatibility is not None:
            levels = {hierarchy: compatibility.integer(1) for hierarchy in "eop"}
    return seeds, proofs, levels


def _skip_pcr_selection(reader: _Reader) -> None:
    for _ in range(reader.integer(4)):
        reader.take(2)
        reader.take(reader.integer(1))


def _skip_orderly_ram(reader: _Reader) -> None:
    version = reader.header(INDEX_ORDERLY_RAM)
    size, used = reader.integer(4), 0
    while used + 12 <= size:
        entry = reader.integer(4)
        if entry == 0:
            break
        reader.take(8)
        reader.sized()
        used += entry
    if version >= 2:
        reader.block()


def _user_nvram(reader: _Reader) -> dict[int, PersistentObject]:
    reader.header(USER_NVRAM)
    reader.take(8)
    objects = {}
    while reader.integer(4):
        handle = reader.integer(4)
        if handle >> 24 == 0x81:
            objects[handle] = _object(reader, handle)
        else:
            _skip_nv_index(reader)
    return objects


def _skip_nv_index(reader: _Reader) -> None:
    version = reader.header(NV_INDEX)
    reader.take(4 + 2 + 4)
    reader.sized()
    reader.take(2)
    reader.sized()
    if version >= 2:
        reader.block()
    reader.take(reader.integer(4))


def _object(reader: _Reader, handle: int) -> PersistentObject:
    outer = reader.header(ANY_OBJECT)
    reader.take(4)
    version = reader.header(OBJECT)
    start = reader.offset
    _skip_public(reader)
    public = reader.data[start : reader.offset]
    reader.take(2)
    auth, seed_value, sensitive = reader.sized(), reader.sized(), reader.sized()
    reader.block()
    reader.sized()  # qualifiedName
    reader.take(4)
    name = reader.sized()
    if version >= 2:
        reader.block()
    if outer >= 2:
        reader.block()
    return PersistentObject(handle, public, auth, seed_value, sensitive, name)


def _skip_public(reader: _Reader) -> None:
    kind = reader.integer(2)
    reader.take(2 + 4)
    reader.sized()
    match kind:
        case 0x0001:  # RSA
            _skip_symmetric(reader)
            _skip_scheme(reader)
            reader.take(2 + 4)
            reader.sized()
        case 0x0023:  # ECC
            _skip_symmetric(reader)
            _skip_scheme(reader)
            reader.take(2)
            _skip_scheme(reader)
            reader.sized()
            reader.sized()
        case 0x0025:  # SYMCIPHER
            _skip_symmetric(reader)
            reader.sized()
        case 0x0008:  # KEYEDHASH
            if _skip_scheme(reader) == _ALG_XOR:
                reader.take(2)
            reader.sized()
        case _:
            raise ValueError(f"object of type 0x{kind:04x}")


def _skip_symmetric(reader: _Reader) -> None:
    if reader.integer(2) != _ALG_NULL:
        reader.take(2 + 2)


def _skip_scheme(reader: _Reader) -> int:
    scheme = reader.integer(2)
    if scheme not in (_ALG_NULL, _ALG_RSAES):
        reader.take(2)
    if scheme == _ALG_ECDAA:
        reader.take(2)
    return scheme

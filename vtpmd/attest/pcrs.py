"""PCR values, and the files that tpm2-tools and vtpmctl write them into."""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from vtpmd.tpm.wire.constants import DIGEST_SIZES
from vtpmd.tpm.wire.limits import IMPLEMENTATION_PCR

from .allowed import BANKS
from .errors import MalformedError

PcrValues = dict[int, dict[int, bytes]]
"""By hash algorithm of the bank, and index."""

Selection = tuple[tuple[int, tuple[int, ...]], ...]
"""Banks in the order of a TPML_PCR_SELECTION, with the indices in ascending order."""

MAX_SIZE: Final = 64 * 1024

# tpm2-tools' "serialized" file is its structures in memory, little endian: a TPML_PCR_SELECTION
# with room for 16 banks, then as many TPML_DIGEST as it says, each with room for 8 digests.
_SELECTION_SIZE: Final = 4 + 16 * 8
_DIGESTS: Final = 8
_DIGEST_SIZE: Final = 2 + 64
_LIST_SIZE: Final = 4 + _DIGESTS * _DIGEST_SIZE

_INDICES: Final = frozenset(map(str, range(IMPLEMENTATION_PCR)))
_BANK_LINE: Final = re.compile(r"\s*(\w+)\s*:\s*")
_VALUE_LINE: Final = re.compile(r"\s*(\d{1,2})\s*:\s*0x([0-9A-Fa-f]+)\s*")


def parse_values(octets: bytes, selection: Selection) -> PcrValues:
    """The values in a file; `selection` is the quote's, whose order a file of bare values has.

    It may be what tpm2_quote writes with `-F serialized` or `-F values`, what tpm2_pcrread prints,
    or `vtpmctl pcr --json`. Raises MalformedError.
    """
    if len(octets) > MAX_SIZE:
        raise MalformedError(f"PCR values of more than {MAX_SIZE} octets")
    values = _parse(octets, selection)
    if not values:
        raise MalformedError("no PCR values")
    return values


def _parse(octets: bytes, selection: Selection) -> PcrValues:
    lists, rest = divmod(len(octets) - _SELECTION_SIZE - 4, _LIST_SIZE)
    if lists >= 0 and not rest and lists == _u32(octets, _SELECTION_SIZE):
        return _place(_serialized_selection(octets), list(_serialized_digests(octets, lists)))
    places = [(alg, index) for alg, indices in selection for index in indices]
    if len(octets) == sum(DIGEST_SIZES[alg] for alg, _ in places):
        return _place(places, list(_bare(octets, places)))
    try:
        text = octets.decode("ascii")
    except UnicodeDecodeError:
        raise MalformedError("no PCR values of this quote") from None
    return _from_json(text) if text.lstrip().startswith("{") else _from_lines(text)


def _u32(octets: bytes, at: int) -> int:
    return int.from_bytes(octets[at : at + 4], "little")


def _serialized_selection(octets: bytes) -> list[tuple[int, int]]:
    places = []
    for bank in range(min(_u32(octets, 0), 16)):
        entry = octets[4 + 8 * bank : 12 + 8 * bank]
        alg, bits = int.from_bytes(entry[:2], "little"), entry[3 : 3 + entry[2]]
        if alg not in DIGEST_SIZES or len(bits) != entry[2]:
            raise MalformedError(f"PCR values of an unknown bank 0x{alg:04x}")
        chosen = int.from_bytes(bits, "little")
        places += [(alg, index) for index in range(8 * len(bits)) if chosen >> index & 1]
    return places


def _serialized_digests(octets: bytes, lists: int) -> Iterator[bytes]:
    for start in range(_SELECTION_SIZE + 4, _SELECTION_SIZE + 4 + lists * _LIST_SIZE, _LIST_SIZE):
        if (count := _u32(octets, start)) > _DIGESTS:
            raise MalformedError(f"a list of {count} PCR values")
        for number in range(count):
            at = start + 4 + number * _DIGEST_SIZE
            size = int.from_bytes(octets[at : at + 2], "little")
            yield octets[at + 2 : at + 2 + min(size, _DIGEST_SIZE - 2)]


def _bare(octets: bytes, places: list[tuple[int, int]]) -> Iterator[bytes]:
    at = 0
    for alg, _ in places:
        yield octets[at : at + DIGEST_SIZES[alg]]
        at += DIGEST_SIZES[alg]


def _place(places: list[tuple[int, int]], digests: list[bytes]) -> PcrValues:
    if len(places) != len(digests):
        raise MalformedError(f"{len(digests)} PCR values where {len(places)} are announced")
    values: PcrValues = {}
    for (alg, index), value in zip(places, digests, strict=True):
        _put(values, alg, index, value)
    return values


def _put(values: PcrValues, alg: int, index: int, value: bytes) -> None:
    if not 0 <= index < IMPLEMENTATION_PCR or len(value) != DIGEST_SIZES[alg]:
        raise MalformedError(f"PCR {index} with a value of {len(value)} octets")
    if values.setdefault(alg, {}).setdefault(index, value) != value:
        raise MalformedError(f"two values of PCR {index}")


def _from_json(text: str) -> PcrValues:
    values: PcrValues = {}
    try:
        content = json.loads(text, object_pairs_hook=_distinct)
        for bank, digests in content.get("banks", content).items():
            alg = BANKS[bank]
            for index, value in digests.items():
                if index not in _INDICES:
                    raise MalformedError(f"{index!a} where the index of a PCR should be")
                _put(values, alg, int(index), bytes.fromhex(value))
    except MalformedError:
        raise
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
        raise MalformedError("JSON that is no PCR values by bank and index") from None
    return values


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object: readers differ about which of two values of a name they take."""
    content = dict(pairs)
    if len(content) != len(pairs):
        raise MalformedError("JSON with two values of one name")
    return content


def _from_lines(text: str) -> PcrValues:
    values: PcrValues = {}
    alg: int | None = None
    for line in filter(str.strip, text.splitlines()):
        if (found := _VALUE_LINE.fullmatch(line)) and alg is not None and not len(found[2]) % 2:
            _put(values, alg, int(found[1]), bytes.fromhex(found[2]))
        elif (bank := _BANK_LINE.fullmatch(line)) and bank[1] in BANKS:
            alg = BANKS[bank[1]]
        else:
            raise MalformedError("text that is not what tpm2_pcrread prints")
    return values

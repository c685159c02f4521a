"""How inputs are changed: as octets, or, where they have a structure, so that most of it holds."""

import json
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random
from typing import Any

import cbor2

from tests.fuzz.commands import valid
from tests.fuzz.engine import framed_commands, read_commands
from tests.fuzz.octets import Octets
from tests.fuzz.stored import SIZE_SIZE
from tests.fuzz.tpm import HANDLES, HMAC_SESSION, PARAMETERS, POLICY_SESSION
from tests.tpm.harness import sized
from tests.tpm.raw import authorization, resized, session_area
from vtpmd.encoding import cbor as encoding
from vtpmd.kms.kmip import ttlv as ttlvs
from vtpmd.kms.pkcs11.messages import HEADER
from vtpmd.tpm.command import COMMANDS
from vtpmd.tpm.wire.constants import RH, ST

Mutator = Callable[[bytes, Random], bytes]

_NUMBERS: tuple[int, ...] = (
    *(0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0xFFF, 0x1000, 0x7FFF, 0x8000, 0xFFFF),
    *(1 << 31, (1 << 32) - 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1),
)
_HEADER = 10
_CODES = tuple(sorted(COMMANDS))
_SCALARS: tuple[object, ...] = (*_NUMBERS, -1, b"", bytes(16), bytes(32), "", "unknown", "x" * 99)
_SCALARS += (True, None, [], {})
_COSE_ENCRYPT = 96


def octets(data: bytes, random: Random) -> bytes:
    """A few octets changed, inserted, removed or repeated, or a number in their place."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        start = random.randrange(len(changed) + 1)
        end = min(len(changed), start + random.randint(1, 8))
        match random.randrange(6):
            case 0:
                changed[start:end] = random.randbytes(end - start)
            case 1:
                changed[start:start] = random.randbytes(random.randint(1, 8))
            case 2:
                del changed[start:end]
            case 3:
                changed[start:start] = changed[start:end] * random.randint(1, 4)
            case 4:
                size = random.choice((1, 2, 4, 8))
                number = random.choice(_NUMBERS) & (1 << 8 * size) - 1
                changed[start : start + size] = number.to_bytes(size)
            case _:
                for at in range(start, end):
                    changed[at] ^= 1 << random.randrange(8)
    return bytes(changed)


def command(data: bytes, random: Random) -> bytes:
    """A command with another handle, session, parameter or code, whose size is right mostly."""
    parts = _parts(data)
    if parts is None or random.randrange(8) == 0:
        return octets(data, random)
    code, handles, sessions, parameters = parts
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        match random.randrange(8):
            case 0 if handles:
                handles[random.randrange(len(handles))] = random.choice(HANDLES)
            case 1:
                count = COMMANDS[code].authorizations if sessions is None else random.randrange(4)
                sessions = session_area(*(_authorization(random) for _ in range(count)))
            case 2:
                sessions = None
            case 3:
                same = [other for other in _CODES if len(COMMANDS[other].handles) == len(handles)]
                code = random.choice(same)
            case 4 | 5:
                parameters = _resized_field(parameters, random)
            case 6:
                at = random.randrange(len(parameters) + 1)
                end = random.choice((at, at + 1, at + 2, at + 4, len(parameters)))
                parameters = parameters[:at] + random.choice(PARAMETERS) + parameters[end:]
            case _:
                parameters = octets(parameters, random)
    body = b"".join(handle.to_bytes(4) for handle in handles) + (sessions or b"") + parameters
    tag = ST.NO_SESSIONS if sessions is None else ST.SESSIONS
    made = resized(struct.pack(">HII", tag, 0, code) + body)
    return octets(made, random) if random.randrange(32) == 0 else made


def commands(data: bytes, random: Random) -> bytes:
    """A sequence with another command somewhere, or the same in another order or locality."""
    found = read_commands(data)
    if not found:
        return octets(data, random)
    for _ in range(random.randint(1, 3)):
        at = random.randrange(len(found))
        locality, octets_there = found[at]
        match random.randrange(6):
            case 0:
                found.insert(at, random.choice(found))
            case 1:
                found.insert(at, (0, random.choice(list(valid().values()))))
            case 2:
                random.shuffle(found)
            case 3:
                found[at] = random.randrange(8), octets_there
            case _:
                found[at] = locality, command(octets_there, random)
    return framed_commands(found)


def _parts(data: bytes) -> tuple[int, list[int], bytes | None, bytes] | None:
    """Code, handles, session area if there is one, and parameters; None if it is no command."""
    if len(data) < _HEADER:
        return None
    tag, _, code = struct.unpack_from(">HII", data)
    spec = COMMANDS.get(code)
    end = _HEADER + 4 * len(spec.handles) if spec else 0
    if not spec or len(data) < end:
        return None
    handles = [int.from_bytes(data[at : at + 4]) for at in range(_HEADER, end, 4)]
    if tag != ST.SESSIONS:
        return code, handles, None, data[end:]
    behind = end + 4 + int.from_bytes(data[end : end + 4])
    return code, handles, data[end:behind], data[behind:]


def _authorization(random: Random) -> bytes:
    handle = random.choice((RH.RS_PW, RH.RS_PW, HMAC_SESSION, POLICY_SESSION))
    nonce = b"" if handle == RH.RS_PW else bytes(random.choice((0, 16, 32)))
    attributes = random.choice((0, 1, 0x20, 0x21, 0x40, 0x41, 0x80, 0x81, 0xFF))
    return authorization(handle, nonce, attributes, bytes(random.choice((0, 0, 0, 1, 32))))


def _resized_field(parameters: bytes, random: Random) -> bytes:
    """The parameters with another content, or another size alone, of what looks like a TPM2B."""
    ends = {at: at + 2 + int.from_bytes(parameters[at : at + 2]) for at in range(len(parameters))}
    found = [at for at, end in ends.items() if end <= len(parameters)]
    if not found:
        return octets(parameters, random)
    at = random.choice(found)
    content = parameters[at + 2 : ends[at]]
    if random.randrange(3) == 0:
        size = random.choice(_NUMBERS) & 0xFFFF
        return parameters[:at] + size.to_bytes(2) + parameters[at + 2 :]
    if random.randrange(2):
        content = bytes(random.choice((0, 1, 16, 20, 31, 32, 33, 48, 64, 128, 1024)))
    else:
        content = octets(content, random)
    return parameters[:at] + sized(content[:0xFFFF]) + parameters[ends[at] :]


def cbor(data: bytes, random: Random) -> bytes:
    """A value with another item somewhere, in deterministic encoding."""
    if random.randrange(4) == 0:
        return octets(data, random)
    try:
        value = encoding.decode(data, tags=(_COSE_ENCRYPT,))
    except encoding.CborError:
        return octets(data, random)
    changed = _changed(value, random, list(_nodes(value)))
    try:
        return cbor2.dumps(changed, canonical=random.randrange(16) > 0)
    except (ValueError, TypeError, OverflowError):
        return octets(data, random)


def framed_cbor(data: bytes, random: Random) -> bytes:
    """The same behind its length, which is right mostly."""
    changed = cbor(data[HEADER.size :], random)
    made = HEADER.pack(len(changed)) + changed
    return octets(made, random) if random.randrange(16) == 0 else made


def json_document(data: bytes, random: Random) -> bytes:
    """A JSON document with another value somewhere."""
    try:
        value = json.loads(data)
        return json.dumps(_changed(value, random, list(_nodes(value)))).encode()
    except (ValueError, TypeError, RecursionError):
        return octets(data, random)


def http(data: bytes, random: Random) -> bytes:
    """A message of HTTP with another document, whose length is right, or another head."""
    head, found, body = data.partition(b"\r\n\r\n")
    if not found or not body or random.randrange(3) == 0:
        return octets(head, random) + found + body
    changed = json_document(body, random)
    return re.sub(rb"(?<=Content-Length: )\d+", b"%d" % len(changed), head) + found + changed


def ttlv(data: bytes, random: Random) -> bytes:
    """An item of KMIP with another item somewhere in it."""
    if random.randrange(3) == 0:
        return octets(data, random)
    try:
        return bytes(ttlvs.encode(_changed_item(ttlvs.decode(data), random)))
    except ttlvs.TtlvError:
        return octets(data, random)


def _changed_item(item: ttlvs.Item, random: Random) -> ttlvs.Item:
    value: Any = item.value
    if isinstance(value, tuple) and value and random.randrange(8):
        at = random.randrange(len(value))
        match random.randrange(8):
            case 0:
                return replace(item, value=value[:at] + value[at + 1 :])
            case 1:
                return replace(item, value=(*value, value[at]))
            case _:
                changed = _changed_item(value[at], random)
                return replace(item, value=(*value[:at], changed, *value[at + 1 :]))
    match value:
        case str():
            return replace(item, value=random.choice(("", value * 99, value + "x")))
        case bytes() | bytearray():
            return replace(item, value=bytearray(octets(bytes(value), random)))
        case int():
            return replace(item, value=random.choice((0, 1, value + 1, value ^ 1 << 30)))
    return replace(item, tag=item.tag ^ 1 << random.randrange(24))


def packets(data: bytes, random: Random) -> bytes:
    """What comes over a channel with one packet, its descriptors or the end's state changed."""
    source = Octets(data)
    state, found = source.take(2), []
    while source:
        found.append((source.number(), source.take(source.number(2))))
    if not found:
        return octets(data, random)
    at = random.randrange(len(found))
    fds, packet = found[at]
    match random.randrange(6):
        case 0:
            state = random.randrange(16).to_bytes(2)
        case 1:
            found[at] = random.randrange(6), packet
        case 2:
            found.insert(at, random.choice(found))
        case 3:
            del found[at]
        case _:
            found[at] = fds, cbor(packet, random)
    made = (bytes((fds,)) + len(packet).to_bytes(2) + packet for fds, packet in found)
    return state + b"".join(made)


def places(data: bytes, random: Random) -> bytes:
    """A state file with another field in the head of a place, the places changed, or octets."""
    source = Octets(data)
    found = [bytearray(source.take(source.number(SIZE_SIZE))) for _ in range(2)]
    place = random.choice(found)
    at, size = random.choice(((8, 4), (12, 1), (13, 1), (14, 2), (28, 4), (32, 4), (40, 8)))
    match random.randrange(6):
        case 0:
            found.reverse()
        case 1:
            found = [place, place]
        case 2 if len(place) > at + size:
            place[at : at + size] = (random.choice(_NUMBERS) % (1 << 8 * size)).to_bytes(size)
        case 3:
            del place[random.randrange(len(place) + 1) :]
        case _:
            place[:] = octets(bytes(place), random)
    return b"".join(len(place).to_bytes(SIZE_SIZE) + place for place in found)


def _nodes(value: Any) -> Iterator[Any]:
    yield value
    match value:
        case cbor2.CBORTag():
            yield from _nodes(value.value)
        case dict():
            for each in value.values():
                yield from _nodes(each)
        case list():
            for each in value:
                yield from _nodes(each)


def _changed(value: Any, random: Random, others: list[Any]) -> Any:
    """A value with one change in it, or another value: perhaps one of the `others`."""
    if isinstance(value, cbor2.CBORTag):
        return cbor2.CBORTag(value.tag, _changed(value.value, random, others))
    if isinstance(value, list | dict) and value and random.randrange(8):
        keys: list[Any] = list(value) if isinstance(value, dict) else list(range(len(value)))
        key, copy = random.choice(keys), value.copy()
        match random.randrange(8):
            case 0:
                del copy[key]
            case 1 | 2 if isinstance(copy, dict):
                copy[random.choice((0, 7, "unknown", -70009))] = value[key]
            case 1 if isinstance(copy, list):
                copy.append(value[key])
            case _:
                copy[key] = _changed(value[key], random, others)
        return copy
    if random.randrange(2):
        return random.choice(random.choice((_SCALARS, others)))
    match value:
        case bool() | None:
            return not value
        case int():
            return value + random.choice((-1, 1, *_NUMBERS))
        case bytes():
            return cbor(value, random)
        case str():
            return octets(value.encode(), random).decode(errors="replace")
    return random.choice(_SCALARS)


_STRUCTURED: dict[str, Mutator] = {
    "command": command,
    "sequence": commands,
    "state_file": places,
    "channel": packets,
    "metadata": json_document,
    **dict.fromkeys(("report", "admin"), http),
    **dict.fromkeys(("ttlv", "kmip_reply"), ttlv),
    "child_request": framed_cbor,
    "child_reply": framed_cbor,
    **dict.fromkeys(("cbor", "envelope", "keyring", "keyring_export", "message"), cbor),
}


def mutator(target: str) -> Mutator:
    """How the inputs of a target are changed."""
    return _STRUCTURED.get(target, octets)

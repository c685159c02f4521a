"""The measured commands: each is prepared once and then run step by step."""

import hashlib
import itertools
import struct
from collections.abc import Callable
from dataclasses import dataclass

from tests.bench import encoding as tpm
from tests.bench.encoding import PASSWORD, command, creation, first_sized, response, sized
from tests.bench.session import HmacSession
from tests.bench.target import Target

Step = Callable[[], float]
"""One measurement: seconds that the command of interest took."""

DIGEST = hashlib.sha256(b"measured").digest()
EXTENSION = struct.pack(">I", 1) + tpm.SHA256 + DIGEST


@dataclass(frozen=True)
class Workload:
    name: str
    steps: int
    prepare: Callable[[Target], Step]


def _repeat(target: Target, *commands: bytes) -> Step:
    """The same commands again and again, in turn; they must succeed."""
    turns = itertools.cycle(commands)

    def step() -> float:
        seconds, answer = target.timed(next(turns))
        response(answer)
        return seconds

    return step


def _flush(target: Target, handle: int) -> None:
    response(target.execute(command(tpm.FLUSH_CONTEXT, (), struct.pack(">I", handle))))


def _loading(target: Target, data: Callable[[], bytes]) -> Step:
    """A command that loads an object, which is flushed afterwards."""

    def step() -> float:
        seconds, answer = target.timed(data())
        _flush(target, response(answer, with_handle=True).handle)
        return seconds

    return step


def _primary_command(public: bytes) -> bytes:
    return command(tpm.CREATE_PRIMARY, (tpm.OWNER,), creation(public), PASSWORD)


def _primary(target: Target, public: bytes) -> int:
    return response(target.execute(_primary_command(public)), with_handle=True).handle


def _create_command(parent: int, public: bytes, data: bytes = b"") -> bytes:
    return command(tpm.CREATE, (parent,), creation(public, data), PASSWORD)


def _child(target: Target, public: bytes, data: bytes = b"") -> tuple[int, bytes]:
    """A loaded key below an ECC primary that is flushed again, and the Load command's sizes."""
    parent = _primary(target, tpm.ecc(tpm.STORAGE))
    load = _load_command(target, parent, public, data)
    handle = response(target.execute(load), with_handle=True).handle
    _flush(target, parent)
    return handle, load


def _load_command(target: Target, parent: int, public: bytes, data: bytes = b"") -> bytes:
    created = response(target.execute(_create_command(parent, public, data)))
    private, made = first_sized(created.parameters, 2)
    return command(tpm.LOAD, (parent,), sized(private) + sized(made), PASSWORD)


def get_random(target: Target) -> Step:
    return _repeat(target, command(tpm.GET_RANDOM, (), struct.pack(">H", 32)))


def get_capability(target: Target) -> Step:
    return _repeat(target, command(tpm.GET_CAPABILITY, (), struct.pack(">III", 5, 0, 1)))


def pcr_read(target: Target) -> Step:
    return _repeat(target, command(tpm.PCR_READ, (), tpm.PCRS_0_TO_7_OF_SHA256))


def pcr_extend(target: Target) -> Step:
    return _repeat(target, command(tpm.PCR_EXTEND, (tpm.PCR_16,), EXTENSION, PASSWORD))


def pcr_extend_hmac(target: Target) -> Step:
    session = HmacSession(target)

    def step() -> float:
        data = session.command(tpm.PCR_EXTEND, tpm.PCR_16, EXTENSION)
        seconds, answer = target.timed(data)
        session.accept(tpm.PCR_EXTEND, answer)
        return seconds

    return step


def hash_kibibyte(target: Target) -> Step:
    parameters = sized(bytes(1024)) + tpm.SHA256 + struct.pack(">I", tpm.NULL)
    return _repeat(target, command(tpm.HASH, (), parameters))


def _nv_index(target: Target, index: int) -> list[bytes]:
    """Define an index of 64 octets for the owner; two commands that write different octets."""
    target.execute(command(tpm.NV_UNDEFINE_SPACE, (tpm.OWNER, index), b"", PASSWORD))  # last time's
    public = struct.pack(">I", index) + tpm.SHA256 + struct.pack(">IHH", 0x00020002, 0, 64)
    define = sized(b"") + sized(public)
    response(target.execute(command(tpm.NV_DEFINE_SPACE, (tpm.OWNER,), define, PASSWORD)))
    contents = (DIGEST * 2, DIGEST + bytes(32))  # what does not change might not be stored
    data = [sized(content) + struct.pack(">H", 0) for content in contents]
    return [command(tpm.NV_WRITE, (tpm.OWNER, index), each, PASSWORD) for each in data]


def nv_write(target: Target) -> Step:
    return _repeat(target, *_nv_index(target, tpm.NV_INDEX))


def nv_read(target: Target) -> Step:
    index = tpm.NV_INDEX + 1
    for write in _nv_index(target, index):
        response(target.execute(write))
    read = struct.pack(">HH", 64, 0)
    return _repeat(target, command(tpm.NV_READ, (tpm.OWNER, index), read, PASSWORD))


def _primary_again(public: bytes) -> Callable[[Target], Step]:
    return lambda target: _loading(target, lambda: _primary_command(public))


def _primary_anew(public: Callable[[int, bytes], bytes]) -> Callable[[Target], Step]:
    """Each time another `unique`, so that nothing remembered helps."""

    def prepare(target: Target) -> Step:
        uniques = (struct.pack(">Q", number) for number in range(1, 1 << 32))
        return _loading(target, lambda: _primary_command(public(tpm.STORAGE, next(uniques))))

    return prepare


def _create(public: bytes) -> Callable[[Target], Step]:
    def prepare(target: Target) -> Step:
        # The parent is made and flushed around each step: handles stay free for the others.
        def step() -> float:
            parent = _primary(target, tpm.ecc(tpm.STORAGE))
            seconds, answer = target.timed(_create_command(parent, public))
            response(answer)
            _flush(target, parent)
            return seconds

        return step

    return prepare


def load_ecc(target: Target) -> Step:
    parent = _primary(target, tpm.ecc(tpm.STORAGE))
    load = _load_command(target, parent, tpm.ecc(tpm.SIGNING))
    return _loading(target, lambda: load)


def _sign(public: bytes) -> Callable[[Target], Step]:
    def prepare(target: Target) -> Step:
        key, _ = _child(target, public)
        parameters = sized(DIGEST) + tpm.NO_SCHEME + tpm.NO_TICKET
        return _repeat(target, command(tpm.SIGN, (key,), parameters, PASSWORD))

    return prepare


def quote(target: Target) -> Step:
    key, _ = _child(target, tpm.ecc(tpm.RESTRICTED_SIGNING))
    parameters = sized(DIGEST) + tpm.NO_SCHEME + tpm.PCRS_0_TO_7_OF_SHA256
    return _repeat(target, command(tpm.QUOTE, (key,), parameters, PASSWORD))


def unseal(target: Target) -> Step:
    key, _ = _child(target, tpm.sealed_data(), b"s" * 32)
    return _repeat(target, command(tpm.UNSEAL, (key,), b"", PASSWORD))


def context_save(target: Target) -> Step:
    key, _ = _child(target, tpm.ecc(tpm.SIGNING))
    return _repeat(target, command(tpm.CONTEXT_SAVE, (key,)))


def context_load(target: Target) -> Step:
    key, _ = _child(target, tpm.ecc(tpm.SIGNING))
    saved = response(target.execute(command(tpm.CONTEXT_SAVE, (key,)))).parameters
    _flush(target, key)
    return _loading(target, lambda: command(tpm.CONTEXT_LOAD, (), saved))


WORKLOADS = [
    Workload("GetRandom 32", 400, get_random),
    Workload("GetCapability PCRS", 400, get_capability),
    Workload("PCR_Read 8 PCRs", 400, pcr_read),
    Workload("PCR_Extend, password", 400, pcr_extend),
    Workload("PCR_Extend, HMAC session", 400, pcr_extend_hmac),
    Workload("Hash 1 KiB", 400, hash_kibibyte),
    Workload("NV_Read 64", 400, nv_read),
    Workload("NV_Write 64 (durable)", 200, nv_write),
    Workload("CreatePrimary P-256, again", 100, _primary_again(tpm.ecc(tpm.STORAGE))),
    Workload("CreatePrimary P-256, new", 100, _primary_anew(tpm.ecc)),
    Workload("CreatePrimary RSA-2048, again", 20, _primary_again(tpm.rsa(tpm.STORAGE))),
    Workload("CreatePrimary RSA-2048, new", 20, _primary_anew(tpm.rsa)),
    Workload("Create P-256", 100, _create(tpm.ecc(tpm.SIGNING))),
    Workload("Create RSA-2048", 20, _create(tpm.rsa(tpm.SIGNING))),
    Workload("Load P-256", 200, load_ecc),
    Workload("Sign ECDSA P-256", 200, _sign(tpm.ecc(tpm.SIGNING))),
    Workload("Sign RSASSA 2048", 100, _sign(tpm.rsa(tpm.SIGNING))),
    Workload("Quote ECDSA P-256", 200, quote),
    Workload("Unseal", 200, unseal),
    Workload("ContextSave", 200, context_save),
    Workload("ContextLoad", 200, context_load),
]

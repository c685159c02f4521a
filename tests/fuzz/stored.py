"""What lies in files: each is refused with the error of its own layer, or read back the same.

Where a file has a checksum, an input is tried twice: as it is, and with the checksum set right.
Otherwise a fuzzer would hardly get past it.
"""

import hashlib
import json
from collections.abc import Callable
from typing import Any
from unittest import mock
from uuid import UUID

import cbor2
import yaml

from tests.fuzz import archives
from tests.fuzz.demand import demand
from tests.fuzz.octets import Octets
from tests.storage.simulated import VM, Disk
from vtpmd.config.loader import ConfigurationError
from vtpmd.config.loader import parse as parse_configuration
from vtpmd.config.schema import Configuration
from vtpmd.encoding import cbor as encoding
from vtpmd.kms.local import keyring as keyrings
from vtpmd.kms.local.keyring_export import ExportError, import_
from vtpmd.operations.bundle import BundleError, decode
from vtpmd.storage import envelope as envelopes
from vtpmd.storage.errors import EnvelopeError, StorageError
from vtpmd.storage.record import HEAD_SIZE
from vtpmd.storage.state_file import PLACE_SIZE, StateFile
from vtpmd.supervisor.metadata import Metadata, MetadataError

DEK = bytes(range(32))
PASSPHRASE = "correct horse battery"
SIZE_SIZE = 4
"""A state file is written down as both its places, each behind its size in so many octets."""

_MAX_RECORD = 64 << 10
"""No input is longer; with 4 MiB most of the time would go into hashing holes."""
_CHECKSUM_OF_ENVELOPE = -70011
_CHECKED_OF_RECORD = 48
_KINDS = ("newer", "wrong-instance", "truncated", "damaged", "unsafe")
_TAGS = (0xC0, 0xE0)  # the first octets of tags, which expand in cbor2


def cbor(data: bytes) -> None:
    """Decoded is what cbor2 decodes, if it is canonical and of the permitted types."""
    try:
        value = encoding.decode(data)
    except encoding.CborError:
        # Strings may hold octets that look like tags: those inputs are not judged.
        assert any(_TAGS[0] <= octet < _TAGS[1] for octet in data) or not _permitted(data)
        return
    assert _weight(value) <= len(data)
    assert encoding.encode(value) == data
    assert cbor2.loads(data) == value


def _permitted(data: bytes) -> bool:
    """Whether an independent decoder finds one canonical value of the types that we write."""
    try:
        value = cbor2.loads(data)
        canonical = cbor2.dumps(value, canonical=True) == data
    except Exception:  # whatever that decoder raises
        return False
    return canonical and _is_ours(value, encoding.MAX_DEPTH)


def _is_ours(value: object, depth: int) -> bool:
    match value:
        case bool() | None | str() | bytes():
            return True
        case int():
            return -(1 << 64) <= value < 1 << 64
        case list():
            return depth > 0 and all(_is_ours(each, depth - 1) for each in value)
        case dict():
            return depth > 0 and all(
                type(key) in (int, str) and _is_ours(key, 0) and _is_ours(each, depth - 1)
                for key, each in value.items()
            )
    return False


def _weight(value: object) -> int:
    """How much has been built: at least an octet of input stands for each item and octet of it."""
    match value:
        case str():
            return 1 + len(value.encode())
        case bytes():
            return 1 + len(value)
        case list():
            return 1 + sum(map(_weight, value))
        case dict():
            return 1 + sum(_weight(key) + _weight(each) for key, each in value.items())
    return 1


def envelope(data: bytes) -> None:
    """What is parsed encodes to the same octets; what is unsealed was sealed."""
    for octets in {data, _with_checksum(data, _CHECKSUM_OF_ENVELOPE)}:
        try:
            parsed = envelopes.parse(octets)
        except EnvelopeError:
            continue
        assert parsed.replace_slots(parsed.slots) == octets
        try:
            plaintext = parsed.unseal(DEK, parsed.header.uuid, parsed.header.kind)
        except EnvelopeError as error:
            demand(error.kind in ("wrong-key", "damaged"))
        else:
            assert len(plaintext) < len(octets)


def _with_checksum(data: bytes, label: int | str) -> bytes:
    """The octets with the checksum of a map at `label` set right, if there is such a map."""
    try:
        content: Any = encoding.decode(data, tags=(96,))
        message = content.value[1] if isinstance(content, cbor2.CBORTag) else content
        del message[label]
        message[label] = hashlib.sha256(encoding.encode(content)).digest()
        return encoding.encode(content)
    except (encoding.CborError, TypeError, LookupError, AttributeError):
        return data


@mock.patch("vtpmd.storage.record.MAX_SIZE", _MAX_RECORD)
def state_file(data: bytes) -> None:
    """A state file is refused, or gives one of its records; a save and a clear are read back."""
    for repaired in (False, True):
        disk = Disk()
        octets = Octets(data)
        places = []
        for offset in (0, PLACE_SIZE):
            place = octets.take(min(octets.number(SIZE_SIZE), len(data)))
            if repaired and len(place) > HEAD_SIZE:
                place = _with_record_checksum(place)
            disk.write(offset, place)
            places.append(place)
        file = StateFile(disk, VM, "nvram")
        try:
            loaded = file.load()
        except (EnvelopeError, StorageError) as error:
            demand(error.kind in _KINDS)
            continue
        held = (_at_home(place, number) for number, place in enumerate(places))
        assert (loaded.content or b"") in held
        assert (loaded.condition == "damaged") == bool(loaded.reason)
        try:
            file.save(b"saved")
        except StorageError as error:
            demand("used up" in str(error))
            continue
        assert StateFile(disk, VM, "nvram").load().content == b"saved"


def _at_home(place: bytes, number: int) -> bytes | None:
    """The content of a place, if its head says that it is this place of an nvram of this VM.

    What is behind it is what a longer record has left.
    """
    is_home = place[12:32] == bytes((number, 1, 0, 0)) + VM.bytes
    end = HEAD_SIZE + int.from_bytes(place[40:_CHECKED_OF_RECORD])
    return place[HEAD_SIZE:end] if is_home else None


def _with_record_checksum(place: bytes) -> bytes:
    head, content = place[:_CHECKED_OF_RECORD], place[HEAD_SIZE:]
    return head + hashlib.sha256(head + content).digest() + content


def bundle(data: bytes) -> None:
    """A bundle is refused, or all of it is in the archive as it was read."""
    for octets in {data, archives.repaired(data)}:
        try:
            read = decode(octets)
        except BundleError:
            continue
        assert read.nvram in octets
        assert all(content in octets for content in read.certificates.values())
        assert read.envelope.header.uuid == read.metadata.uuid
        assert read.envelope.header.kind == "permanent"


def keyring(data: bytes) -> None:
    """A keyring that is read encodes to the same octets, and can wrap."""
    for octets in {data, _with_checksum(data, "checksum")}:
        try:
            parsed = keyrings.parse(octets)
        except keyrings.KeyringError:
            continue
        assert parsed.encode() == octets
        assert parsed.find(parsed.active.id) == parsed.active


def keyring_export(data: bytes) -> None:
    """A backup of a keyring is refused, or is one."""
    try:
        read = import_(data, PASSPHRASE)
    except ExportError:
        return
    assert keyrings.parse(read.encode()) == read


def metadata(data: bytes) -> None:
    """Metadata that is read is read again as it was."""
    try:
        read = Metadata.decode(data)
    except MetadataError:
        return
    assert isinstance(json.loads(data), dict)
    assert Metadata.decode(read.encode()) == read
    assert isinstance(read.uuid, UUID)


def configuration(data: bytes) -> None:
    """A configuration is refused with all its problems, or is one, as YAML's loader has it."""
    try:
        read = parse_configuration(data, "file")
    except ConfigurationError as error:
        demand(bool(error.problems))
        demand(all(problem.startswith("file") for problem in error.problems))
        return
    content = yaml.safe_load(data)
    assert content is None or isinstance(content, dict)
    assert Configuration.model_validate(content or {}) == read


TARGETS: tuple[Callable[[bytes], None], ...] = (
    *(cbor, envelope, state_file, bundle, keyring, keyring_export, metadata, configuration),
)

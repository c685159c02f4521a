"""The state's encoding: versioned, self-describing, strict.

A document is a head whose shape never changes, format and version, and then the deterministic CBOR
of an array: what kind of state it is, the profile, the schema (as octets) and the state, as
`schema` has them. A document of this version's own schema is read without a look into it.

To rename or reinterpret a field: increment `VERSION` and convert the old form where it is read.
"""

from functools import lru_cache
from struct import Struct
from typing import Any, TypeVar, cast

from vtpmd.encoding import cbor

from .profile import Profile, ProfileError, named
from .schema import StateError as StateError
from .schema import damaged, reader, schema_of, writer

FORMAT = b"vtpmd-tpm-state"
VERSION = 1

_HEAD = Struct(f">{len(FORMAT)}sI")
_BEGINNING = _HEAD.pack(FORMAT, VERSION)
_OPENINGS = 8
"""How many documents' beginnings are kept: of each kind one, for the TPM of this process."""
_UNRELEASED = b'{"format":"vtpmd-tpm-state"'

T = TypeVar("T")


def encode(kind: str, profile: str, state: object) -> bytes:
    """Encode a dataclass of `state` as a document of a `kind`."""
    cls: Any = type(state)
    return _opening(kind, profile, cls) + writer(cls)(state)


def decode(kind: str, data: bytes, cls: type[T]) -> tuple[Profile, T]:
    """The profile and the state, a `cls`, in a document of a `kind`. Raises StateError."""
    _demand_version(data)
    try:
        document = cbor.decode(data[_HEAD.size :])
    except cbor.CborError:
        raise StateError("damaged", "the state can't be parsed") from None
    if not isinstance(document, list) or len(document) != 4:
        raise damaged("document")
    stated, name, schema, plain = document
    if stated != kind:
        raise StateError("damaged", f"this is not {kind} state")
    if type(name) is not str or type(schema) is not bytes:
        raise damaged("document")
    try:
        profile = named(name)
    except ProfileError:
        raise StateError(
            "newer", "the state was made for a profile that this vtpmd doesn't know"
        ) from None
    state: T = reader(cast(Any, cls), schema)(plain, profile)
    return profile, state


def prepare(cls: type) -> None:
    """Compile what encodes and decodes a `cls`, which is else done when it is first needed."""
    writer(cls)
    reader(cls, schema_of(cls))


@lru_cache(_OPENINGS)
def _opening(kind: str, profile: str, cls: type) -> bytes:
    """A document without the state, its last item."""
    items = cbor.encode_text(kind), cbor.encode_text(profile), cbor.encode_octets(schema_of(cls))
    return b"".join((_BEGINNING, cbor.array_head(len(items) + 1), *items))


def _demand_version(data: bytes) -> None:
    if data.startswith(_BEGINNING):
        return
    if data.startswith(_UNRELEASED):
        raise StateError(
            "damaged",
            "the state is in the layout of an unreleased vtpmd, which this one does not read: "
            "use the vtpmd that wrote it, or delete the instance and create it anew",
        )
    if len(data) < _HEAD.size or not data.startswith(FORMAT):
        raise StateError("damaged", "this is not the state of a TPM of vtpmd")
    _, version = _HEAD.unpack_from(data)
    if not version:
        raise damaged("version")
    raise StateError("newer", f"the state has version {version}; this vtpmd reads up to {VERSION}")

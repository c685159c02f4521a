"""Encoded states, taken apart by names and put together again.

A naive reading of the dataclasses, value by value, beside the code that the engine generates.
"""

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

import cbor2

from vtpmd.tpm.state import LoadedObject, Session, StoredState, SuspendedState
from vtpmd.tpm.wire.structure import Structure

FORMAT = b"vtpmd-tpm-state"
HEAD_SIZE = len(FORMAT) + 4
KINDS: dict[str, Any] = {
    "permanent": StoredState,
    "volatile": SuspendedState,
    "object": LoadedObject,
    "session": Session,
}
Document = dict[str, Any]
_ABOUT = ("version", "kind", "profile")
_hints_of: Callable[[Any], dict[str, Any]] = cache(get_type_hints)


def read(data: bytes) -> Document:
    """A state by names: version, kind, profile and its groups."""
    kind, profile, schema, record = unpack(data)
    version = int.from_bytes(data[len(FORMAT) : HEAD_SIZE])

    def named(cls: Any, plain: Any) -> Document:
        hints = _hints_of(cls)
        values = dict(zip(schema[cls.__name__], plain, strict=True))
        return {name: _walk(hints.get(name), value, named) for name, value in values.items()}

    groups = _walk(KINDS[kind], record, named)
    return {"version": version, "kind": kind, "profile": profile, **groups}


def write(document: Document) -> bytes:
    """The octets of what `read` gives, with the schema that its names make."""
    groups = {name: value for name, value in document.items() if name not in _ABOUT}
    root = KINDS[document["kind"]]
    schema = {cls.__name__: list[str]() for cls in _classes(root)}

    def collect(cls: Any, value: Document) -> None:
        hints, names = _hints_of(cls), schema[cls.__name__]
        for name, inner in value.items():
            if name not in names:
                names.append(name)
            _walk(hints.get(name), inner, collect)

    def in_order(cls: Any, value: Document) -> list[Any]:
        hints = _hints_of(cls)
        return [_walk(hints.get(name), value.get(name), in_order) for name in schema[cls.__name__]]

    _walk(root, groups, collect)
    for cls in _classes(root):  # of which there may be none in this state
        schema[cls.__name__] = schema[cls.__name__] or _fields(cls)
    record = _walk(root, groups, in_order)
    return pack([document["kind"], document["profile"], schema, record], document["version"])


def changed(state: bytes, change: Callable[[Document], object]) -> bytes:
    """A state with something changed."""
    document = read(state)
    change(document)
    return write(document)


def unpack(data: bytes) -> list[Any]:
    """Kind, profile, schema and record of a state, as they are encoded."""
    kind, profile, schema, record = cbor2.loads(data[HEAD_SIZE:])
    return [kind, profile, cbor2.loads(schema), record]


def pack(parts: list[Any], version: int = 1) -> bytes:
    """The octets of what `unpack` gives."""
    encoded = [*parts]
    encoded[2:3] = [cbor2.dumps(schema, canonical=True) for schema in parts[2:3]]
    return FORMAT + version.to_bytes(4) + cbor2.dumps(encoded, canonical=True)


def values_of(state: Any) -> Any:
    """What a state of the engine is by names."""
    if is_dataclass(state):
        return {name: values_of(getattr(state, name)) for name in _fields(state)}
    if isinstance(state, list):
        return [values_of(item) for item in state]
    if isinstance(state, dict):
        return {key: values_of(item) for key, item in state.items()}
    if isinstance(state, Structure):
        return state.marshal()
    return state.save() if hasattr(state, "save") else state


def _fields(cls: Any) -> list[str]:
    return [item.name for item in fields(cls) if not item.metadata.get("cache")]


def _walk(hint: Any, value: Any, record: Callable[[Any, Any], Any]) -> Any:
    """The value with `record` of its dataclass in the place of each record."""
    if get_origin(hint) is UnionType:
        (hint,) = [arm for arm in get_args(hint) if arm is not NoneType]
        return None if value is None else _walk(hint, value, record)
    if get_origin(hint) is list:
        return [_walk(get_args(hint)[0], item, record) for item in value]
    if get_origin(hint) is dict:
        return {key: _walk(get_args(hint)[1], item, record) for key, item in value.items()}
    return record(hint, value) if is_dataclass(hint) else value


def _classes(root: Any) -> list[Any]:
    """A dataclass and those in it."""
    found: list[Any] = []

    def visit(hint: Any) -> None:
        for part in get_args(hint):
            visit(part)
        if is_dataclass(hint) and hint not in found:
            found.append(hint)
            for inner in _hints_of(hint).values():
                visit(inner)

    visit(root)
    return found

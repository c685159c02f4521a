"""The state's encoding: versioned, self-describing, strict.

A dataclass of `state` becomes a JSON object of its fields, by name; octets are hexadecimal and a
Part 2 structure is its marshalled form. Reading follows the annotations: a missing field
takes its default (it was added later), an unknown field is refused (a newer version wrote it), and
so is a value of another type.

To change the state: add a field with a default, or list one that is gone in `_RETIRED`. To rename
or reinterpret a field: increment `VERSION` and convert the old form where it is read.
"""

import json
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from .profile import Profile, ProfileError, named
from .rc import EngineError, TpmError
from .wire.objects import TPMT_PUBLIC, TPMT_PUBLIC_LOADED
from .wire.structure import Structure, parse

FORMAT = "vtpmd-tpm-state"
VERSION = 1

T = TypeVar("T")

_LAYOUTS: dict[Any, Any] = {TPMT_PUBLIC: TPMT_PUBLIC_LOADED}
"""Structures whose values in a state include some that a guest can't send."""

_RETIRED = {
    "Hierarchy": {"enabled"},
    "LoadedObject": {"primary", "temporary"},
    "OrderlyState": {"clock_rate"},
    "PermanentState": {"primary_epoch", "clock_rate"},
    "Session": {"context_id"},
    "VolatileState": {"startup_type"},
}
"""Fields of older states that are no longer needed, by their dataclass."""


class StateError(EngineError):
    """A state that can't be used; `kind` is "damaged" or "newer"."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


def encode(kind: str, profile: str, **groups: Any) -> bytes:
    """Encode groups of state (dataclasses of `state`) as one document of a `kind`."""
    document: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "kind": kind,
        "profile": profile,
    }
    for name, group in groups.items():
        document[name] = _to_plain(group)
    return json.dumps(document, separators=(",", ":")).encode()


def decode(kind: str, data: bytes, **groups: type[Any]) -> tuple[Profile, dict[str, Any]]:
    """The profile and the groups of a document. Raises StateError."""
    document = _parse(data)
    version = document.get("version")
    if not isinstance(version, int) or version < 1:
        raise StateError("damaged", "the state's version is not a number")
    if version > VERSION:
        raise StateError(
            "newer", f"the state has version {version}; this vtpmd reads up to {VERSION}"
        )
    if document.get("kind") != kind:
        raise StateError("damaged", f"this is not {kind} state")
    try:
        profile = named(str(document.get("profile")))
    except ProfileError:
        raise StateError(
            "newer", "the state was made for a profile that this vtpmd doesn't know"
        ) from None
    unknown = set(document) - {"format", "version", "kind", "profile", *groups}
    if unknown:
        raise StateError("newer", f"the state holds unknown groups: {', '.join(sorted(unknown))}")
    decoded = {}
    for name, group in groups.items():
        if name not in document:
            raise StateError("damaged", f"the state lacks its group {name}")
        decoded[name] = _from_plain(group, document[name], name, profile)
    return profile, decoded


def _parse(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise StateError("damaged", "the state can't be parsed") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise StateError("damaged", "this is not the state of a TPM of vtpmd")
    return document


def _to_plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Structure):
        return value.marshal().hex()
    if isinstance(value, list):
        return [_to_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(int(key)): _to_plain(item) for key, item in value.items()}
    if is_dataclass(value):
        return {name: _to_plain(getattr(value, name)) for name in _stored_fields(value.__class__)}
    saved = value.save()
    return saved.hex()


@cache
def _stored_fields(cls: Any) -> dict[str, tuple[Any, Field[Any]]]:
    hints = get_type_hints(cls)
    return {
        item.name: (hints[item.name], item)
        for item in fields(cls)
        if not item.metadata.get("cache")
    }


def _damaged(where: str) -> StateError:
    return StateError("damaged", f"the state's {where} is not what it should be")


def _from_plain(hint: Any, plain: Any, where: str, profile: Profile) -> Any:
    origin = get_origin(hint)
    if origin is UnionType:
        if plain is None:
            return None
        (hint,) = [arm for arm in get_args(hint) if arm is not NoneType]
        return _from_plain(hint, plain, where, profile)
    if origin is list:
        (item,) = get_args(hint)
        return [_from_plain(item, part, where, profile) for part in _expect(list, plain, where)]
    if origin is dict:
        _, item = get_args(hint)
        return {
            _key(key, where): _from_plain(item, part, f"{where}[{key}]", profile)
            for key, part in _expect(dict, plain, where).items()
        }
    if hint is bytes:
        return _octets(plain, where)
    if hint in (int, bool, str):
        return _expect(hint, plain, where)
    if issubclass(hint, Structure):
        try:
            return parse(_LAYOUTS.get(hint, hint), _octets(plain, where), profile)
        except TpmError:
            raise _damaged(where) from None
    if is_dataclass(hint):
        return _record(hint, _expect(dict, plain, where), where, profile)
    restorable: Any = hint
    try:
        return restorable.restore(_octets(plain, where))
    except ValueError:
        raise _damaged(where) from None


def _record(cls: Any, plain: dict[str, Any], where: str, profile: Profile) -> Any:
    stored = _stored_fields(cls)
    unknown = set(plain) - set(stored) - _RETIRED.get(cls.__name__, set())
    if unknown:
        raise StateError("newer", f"the state's {where} holds unknown fields: {sorted(unknown)}")
    values = {}
    for name, (hint, item) in stored.items():
        if name in plain:
            values[name] = _from_plain(hint, plain[name], f"{where}.{name}", profile)
        elif item.default is MISSING and item.default_factory is MISSING:
            raise _damaged(f"{where}.{name}")
    return cls(**values)


def _expect(kind: type[T], plain: Any, where: str) -> T:
    if type(plain) is not kind:
        raise _damaged(where)
    return plain


def _octets(plain: Any, where: str) -> bytes:
    try:
        return bytes.fromhex(_expect(str, plain, where))
    except ValueError:
        raise _damaged(where) from None


def _key(key: str, where: str) -> int:
    if not key.isascii() or not key.isdigit():
        raise _damaged(where)
    return int(key)

"""Frozen dataclasses to and from canonical CBOR maps, driven by their annotations.

Only the types a message needs exist here: ``bool``, ``int`` (0 … 2^63-1), ``str``, ``bytes``,
``bytearray`` (a secret: the decoded copy can be wiped), ``UUID`` (16 octets), ``tuple[X, ...]``,
``dict[K, V]``, ``Literal`` of strings and dataclasses of all these. Decoding is strict: every
field present, none unknown, types exact.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints
from uuid import UUID

import cbor2

_MAX_DEPTH = 8
_INT_LIMIT = 1 << 63

Decoder = Callable[[object], Any]


class MalformedMessageError(Exception):
    """The octets are not a message: the text says what is wrong with which field."""


def _exact(wanted: type) -> Decoder:
    def decode(value: object) -> object:
        if type(value) is not wanted:
            raise MalformedMessageError(f"{wanted.__name__} expected, {type(value).__name__} found")
        return value

    return decode


def _integer(value: object) -> int:
    if type(value) is not int or not 0 <= value < _INT_LIMIT:
        raise MalformedMessageError("unsigned 63-bit integer expected")
    return value


def _uuid(value: object) -> UUID:
    if type(value) is not bytes or len(value) != 16:
        raise MalformedMessageError("UUID of 16 octets expected")
    return UUID(bytes=value)


def _secret(value: object) -> bytearray:
    if type(value) is not bytes:
        raise MalformedMessageError("octets expected")
    return bytearray(value)


def _literal(choices: tuple[object, ...]) -> Decoder:
    def decode(value: object) -> object:
        if type(value) is not str or value not in choices:
            raise MalformedMessageError(f"one of {', '.join(map(str, choices))} expected")
        return value

    return decode


def _tuple(item: Decoder) -> Decoder:
    def decode(value: object) -> tuple[Any, ...]:
        if type(value) is not list:
            raise MalformedMessageError(f"list expected, {type(value).__name__} found")
        return tuple(item(element) for element in value)

    return decode


def _mapping(key: Decoder, item: Decoder) -> Decoder:
    def decode(value: object) -> dict[Any, Any]:
        if type(value) is not dict:
            raise MalformedMessageError(f"map expected, {type(value).__name__} found")
        return {key(name): item(element) for name, element in value.items()}

    return decode


def _structure(cls: type) -> Decoder:
    hints = get_type_hints(cls)
    fields = {field.name: _decoder(hints[field.name]) for field in dataclasses.fields(cls)}

    def decode(value: object) -> object:
        if type(value) is not dict or value.keys() != fields.keys():
            raise MalformedMessageError(
                f"{cls.__name__} has exactly the fields {', '.join(fields)}"
            )
        arguments = {}
        for name, field in fields.items():
            try:
                arguments[name] = field(value[name])
            except MalformedMessageError as error:
                raise MalformedMessageError(f"{cls.__name__}.{name}: {error}") from None
        try:
            return cls(**arguments)
        except ValueError as error:
            raise MalformedMessageError(str(error)) from None

    return decode


_PLAIN: dict[object, Decoder] = {
    bool: _exact(bool),
    int: _integer,
    str: _exact(str),
    bytes: _exact(bytes),
    bytearray: _secret,
    UUID: _uuid,
}


def _decoder(annotation: Any) -> Decoder:
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return _literal(arguments)
    if origin is tuple and arguments[1:] == (...,):
        return _tuple(_decoder(arguments[0]))
    if origin is dict:
        return _mapping(_decoder(arguments[0]), _decoder(arguments[1]))
    if dataclasses.is_dataclass(annotation):
        return _structure(cast("type", annotation))
    raise TypeError(f"no encoding for {annotation!r}")


def _plain(value: object) -> object:
    if isinstance(value, UUID):
        return value.bytes
    if isinstance(value, bytearray):
        return bytes(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value):
        return {
            field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    return value


class Codec:
    """Encodes and decodes the given dataclasses; the map's ``type`` is the class name."""

    def __init__(self, classes: tuple[type, ...]) -> None:
        self._decoders = {cls.__name__: _structure(cls) for cls in classes}

    def encode(self, message: object) -> bytes:
        """The canonical CBOR map of ``message``."""
        fields = cast("dict[str, object]", _plain(message))
        return cbor2.dumps({"type": type(message).__name__, **fields}, canonical=True)

    def decode(self, data: bytes) -> object:
        """The message in ``data``. Raises MalformedMessageError for anything but one canonical map."""
        try:
            value = cbor2.loads(
                data, max_depth=_MAX_DEPTH, allow_indefinite=False, allow_duplicate_keys=False
            )
            # cbor2 ignores trailing octets and accepts longer spellings of the same value.
            canonical = cbor2.dumps(value, canonical=True) == data
        except (cbor2.CBORError, ValueError, TypeError, OverflowError) as error:
            raise MalformedMessageError(f"not CBOR ({type(error).__name__})") from None
        if not canonical or type(value) is not dict:
            raise MalformedMessageError("not one canonical CBOR map")
        name = value.pop("type", None)
        if type(name) is not str or name not in self._decoders:
            raise MalformedMessageError("unknown message type")
        return self._decoders[name](value)

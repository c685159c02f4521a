"""Frozen dataclasses to and from canonical CBOR maps, driven by their annotations.

Only the types a message needs exist here: `bool`, `int` (0 … 2^63-1), `str` (up to MAX_TEXT
characters), `bytes`, `bytearray` (a secret: the decoded copy can be wiped), `UUID` (16 octets),
`tuple[X, ...]`, `dict[K, V]`, `Literal` of strings and dataclasses of all these.

One rule lets messages grow. A field that has its default is not sent, and a field that is missing
has its default; without a default it is refused by name. Fields that the receiver does not know are
refused in an order, which must not be followed by halves, and ignored in a report, of which the
rest is as true as before; a word that a report's `Literal` does not list is read as "unknown". So
an option that is added to an order, with a default, hinders only those who use it.

Texts are not made printable here: whoever prints one escapes it.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints
from uuid import UUID

from vtpmd.encoding import cbor

MAX_MESSAGE = 1 << 16
MAX_TEXT = 8192
UNKNOWN = "unknown"
_MAX_ITEMS = 4096
_INT_LIMIT = 1 << 63

Decoder = Callable[[object], Any]


class MalformedMessageError(Exception):
    """The octets are not a message: the text says what is wrong with which field."""


class UnknownMessageError(MalformedMessageError):
    """A message that may be a newer version's; `name` is its type."""

    def __init__(self, name: str) -> None:
        super().__init__("unknown message type")
        self.name = name


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


def _text(value: object) -> str:
    if type(value) is not str:
        raise MalformedMessageError(f"str expected, {type(value).__name__} found")
    if len(value) > MAX_TEXT:
        raise MalformedMessageError(f"text of {len(value)} characters, {MAX_TEXT} are permitted")
    return value


def _uuid(value: object) -> UUID:
    if type(value) is not bytes or len(value) != 16:
        raise MalformedMessageError("UUID of 16 octets expected")
    return UUID(bytes=value)


def _secret(value: object) -> bytearray:
    if type(value) is not bytes:
        raise MalformedMessageError("octets expected")
    return bytearray(value)


def _literal(choices: tuple[object, ...], is_report: bool) -> Decoder:
    if is_report and UNKNOWN not in choices:
        raise TypeError(f"no word for what a newer version reports in {choices}")

    def decode(value: object) -> object:
        word = _text(value)
        if word in choices:
            return word
        if is_report:
            return UNKNOWN
        raise MalformedMessageError(f"one of {', '.join(map(str, choices))} expected")

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


def _structure(cls: type, is_report: bool) -> Decoder:
    hints = get_type_hints(cls)
    declared = dataclasses.fields(cls)
    fields = {field.name: _decoder(hints[field.name], is_report) for field in declared}
    required = [field.name for field in declared if not _has_default(field)]

    def decode(value: object) -> object:
        if type(value) is not dict:
            raise MalformedMessageError(f"{cls.__name__}: map expected")
        if not is_report and (unknown := value.keys() - fields.keys()):
            raise MalformedMessageError(f"{cls.__name__} has no field {min(map(repr, unknown))}")
        if missing := [name for name in required if name not in value]:
            raise MalformedMessageError(f"{cls.__name__}.{missing[0]} is missing")
        arguments = {}
        for name in fields.keys() & value.keys():
            try:
                arguments[name] = fields[name](value[name])
            except MalformedMessageError as error:
                raise MalformedMessageError(f"{cls.__name__}.{name}: {error}") from None
        try:
            return cls(**arguments)
        except ValueError as error:
            raise MalformedMessageError(str(error)) from None

    return decode


def _has_default(field: dataclasses.Field[Any]) -> bool:
    return (
        field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
    )


_PLAIN: dict[object, Decoder] = {
    bool: _exact(bool),
    int: _integer,
    str: _text,
    bytes: _exact(bytes),
    bytearray: _secret,
    UUID: _uuid,
}


def _decoder(annotation: Any, is_report: bool) -> Decoder:
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return _literal(arguments, is_report)
    if origin is tuple and arguments[1:] == (...,):
        return _tuple(_decoder(arguments[0], is_report))
    if origin is dict:
        key, item = arguments
        return _mapping(_decoder(key, is_report), _decoder(item, is_report))
    if dataclasses.is_dataclass(annotation):
        return _structure(cast("type", annotation), is_report)
    raise TypeError(f"no encoding for {annotation!r}")


def _plain(value: object, is_report: bool) -> object:
    if isinstance(value, str):
        # Names of files may hold octets that are no text. Of a long report the end says most.
        text = value.encode(errors="backslashreplace").decode()
        return text[-MAX_TEXT:] if is_report else text
    if isinstance(value, UUID):
        return value.bytes
    if isinstance(value, bytearray):
        return bytes(value)
    if isinstance(value, tuple):
        return [_plain(item, is_report) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item, is_report) for key, item in value.items()}
    if dataclasses.is_dataclass(value):
        return {
            field.name: _plain(getattr(value, field.name), is_report)
            for field in dataclasses.fields(value)
            if not _is_default(field, getattr(value, field.name))
        }
    return value


def _is_default(field: dataclasses.Field[Any], value: object) -> bool:
    if field.default_factory is not dataclasses.MISSING:
        return bool(value == field.default_factory())
    return field.default is not dataclasses.MISSING and bool(value == field.default)


class Codec:
    """Encodes and decodes the given dataclasses; the map's `type` is the class name."""

    def __init__(self, orders: tuple[type, ...], reports: tuple[type, ...] = ()) -> None:
        self._decoders = {cls.__name__: _structure(cls, is_report=False) for cls in orders}
        self._decoders |= {cls.__name__: _structure(cls, is_report=True) for cls in reports}
        self._reports = frozenset(reports)

    def encode(self, message: object) -> bytes:
        """The canonical CBOR map of `message`; of a report's texts the last MAX_TEXT characters."""
        fields = cast("dict[str, object]", _plain(message, type(message) in self._reports))
        return cbor.encode({"type": type(message).__name__, **fields})

    def decode(self, data: bytes) -> object:
        """The message in `data`.

        Raises UnknownMessageError for a type that is not ours, and MalformedMessageError for
        anything that is not one canonical map.
        """
        try:
            value = cbor.decode(data, max_size=MAX_MESSAGE, max_items=_MAX_ITEMS)
        except cbor.CborError as error:
            raise MalformedMessageError(f"not canonical CBOR: {error}") from None
        if type(value) is not dict:
            raise MalformedMessageError("not a map")
        name = value.pop("type", None)
        if type(name) is not str:
            raise MalformedMessageError("no message type")
        if name not in self._decoders:
            raise UnknownMessageError(name)
        return self._decoders[name](value)

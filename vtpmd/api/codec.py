"""Requests and reports as JSON documents, and reports back from what a daemon has sent."""

import types
import typing
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from datetime import UTC, datetime
from functools import cache
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from .schema import Report, Request

SomeReport = TypeVar("SomeReport", bound=Report)


class ReportError(ValueError):
    """A document is not the report that was expected; the text names the field."""


def encode_report(report: Report) -> dict[str, object]:
    """The document of a report, with all its fields."""
    names = _names(type(report))  # type: ignore[arg-type]  # as in `decode`
    return {name: plain(getattr(report, name)) for name in names}


def declared(report: Report | type[Report]) -> list[Field[Any]]:
    """The fields that a report has on the wire, in order."""
    return [each for each in fields(report) if each.init]


@cache
def _names(report: type[Report]) -> tuple[str, ...]:
    return tuple(each.name for each in declared(report))


def encode_request(request: Request) -> dict[str, object]:
    """The document of a request, without the fields that have their default."""
    values = {each.name: getattr(request, each.name) for each in fields(request)}
    defaults = {each.name: each.default for each in fields(request)}
    return {name: plain(value) for name, value in values.items() if value != defaults[name]}


def time_text(moment: datetime) -> str:
    """A time in ISO 8601, with its zone."""
    return moment.isoformat().replace("+00:00", "Z")


def plain(value: object) -> object:
    """A value of a report or a request in the types of JSON. Raises TypeError."""
    match value:
        case str() | int() | float() | None:
            return value
        case tuple() | list():
            return [plain(each) for each in value]
        case datetime():
            return time_text(value)
        case UUID():
            return str(value)
        case Report():
            return encode_report(value)
        case dict():
            return {str(key): plain(each) for key, each in value.items()}
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def decode(report: type[SomeReport], document: object) -> SomeReport:
    """Read a report. Unknown fields are ignored and missing ones get defaults.

    Raises ReportError if a known field has another type than declared.
    """
    if not isinstance(document, dict):
        raise ReportError("it is not an object")
    values = {}
    readers = _readers(report)  # type: ignore[arg-type]  # mypy takes no class for hashable
    for name, (reader, default) in readers.items():
        try:
            values[name] = reader.read(document[name]) if name in document else default()
        except ReportError as error:
            raise ReportError(f"{name}: {error}") from None
    made = report(**values)
    made.document.update(document)
    return made


class _Reader(NamedTuple):
    """How to read values of one type, and the value of a missing field."""

    read: Callable[[Any], Any]
    empty: Callable[[], Any]


def _exactly(kind: type) -> _Reader:
    def read(value: object) -> object:
        if type(value) is not kind:
            raise ReportError(f"{kind.__name__} is expected")
        return value

    return _Reader(read, kind)


def _from_text(kind: str, parse: Callable[[str], Any], empty: object) -> _Reader:
    def read(value: object) -> object:
        try:
            return parse(_TYPES[str].read(value))
        except ValueError:
            raise ReportError(f"{kind} is expected") from None

    return _Reader(read, lambda: empty)


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("without a time zone")
    return moment


def _index(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ReportError("a number is expected as key")
    return int(text)


# The types that a report's fields may have, besides other reports and tuple[T, ...],
# dict[str, T], dict[int, T] and T | None of them.
_TYPES: dict[object, _Reader] = {
    str: _exactly(str),
    int: _exactly(int),
    bool: _exactly(bool),
    object: _Reader(lambda value: value, lambda: None),
    datetime: _from_text("a time with its zone", _moment, datetime.fromtimestamp(0, UTC)),
    UUID: _from_text("a UUID", UUID, UUID(int=0)),
}
_KEYS: dict[object, Callable[[str], Any]] = {str: str, int: _index}


@cache
def _readers(report: type[Report]) -> dict[str, tuple[_Reader, Callable[[], Any]]]:
    hints = typing.get_type_hints(report)
    readers = {each.name: (each, _reader(hints[each.name])) for each in declared(report)}
    return {name: (reader, _default(each, reader)) for name, (each, reader) in readers.items()}


def _default(each: Field[Any], reader: _Reader) -> Callable[[], Any]:
    if each.default_factory is not MISSING:
        return each.default_factory
    return reader.empty if each.default is MISSING else lambda: each.default


def _reader(annotation: Any) -> _Reader:
    if annotation in _TYPES:
        return _TYPES[annotation]
    if isinstance(annotation, type) and issubclass(annotation, Report):
        return _Reader(lambda value: decode(annotation, value), lambda: decode(annotation, {}))
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is tuple and arguments[1:] == (...,):
        return _tuple(_reader(arguments[0]))
    if origin is dict:
        return _dict(_KEYS[arguments[0]], _reader(arguments[1]))
    if origin is types.UnionType and arguments[1:] == (types.NoneType,):
        inner = _reader(arguments[0])
        return _Reader(lambda value: None if value is None else inner.read(value), lambda: None)
    raise TypeError(f"a report cannot have a field of type {annotation}")


def _tuple(inner: _Reader) -> _Reader:
    def read(value: object) -> object:
        return tuple(map(inner.read, _exactly(list).read(value)))

    return _Reader(read, tuple)


def _dict(key: Callable[[str], Any], inner: _Reader) -> _Reader:
    def read(value: object) -> object:
        given = _exactly(dict).read(value)
        return {key(name): inner.read(each) for name, each in given.items()}

    return _Reader(read, dict)

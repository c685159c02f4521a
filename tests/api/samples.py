"""Every request and report, and samples of them by type."""

import types
import typing
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from vtpmd.api import schema

WHEN = datetime(2026, 7, 1, 12, 30, 15, 250, UTC)
THIS_UUID = UUID("7d1f2b30-8f2e-4a55-9a7c-0123456789ab")
REPORTS = [
    value
    for value in vars(schema).values()
    if isinstance(value, type) and issubclass(value, schema.Report) and value is not schema.Report
]
REQUESTS = [
    value
    for value in vars(schema).values()
    if isinstance(value, type) and issubclass(value, schema.Request) and value is not schema.Request
]
SAMPLES: dict[object, tuple[object, object]] = {
    str: ("some text", "some text"),
    int: (7, 7),
    bool: (True, True),
    object: ({"any": ["thing", 1.5, None]}, {"any": ["thing", 1.5, None]}),
    datetime: (WHEN, "2026-07-01T12:30:15.000250Z"),
    UUID: (THIS_UUID, str(THIS_UUID)),
}


def sample(annotation: Any) -> tuple[Any, Any]:
    """A value of a type, and what it is in JSON."""
    if annotation in SAMPLES:
        return SAMPLES[annotation]
    if isinstance(annotation, type) and issubclass(annotation, schema.Report):
        return filled(annotation)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is types.UnionType:
        return sample(arguments[0])
    inner, plain = sample(arguments[-1 if origin is dict else 0])
    if origin is tuple:
        return (inner, inner), [plain, plain]
    key = sample(arguments[0])[0]
    return {key: inner}, {str(key): plain}


def filled(kind: Any) -> tuple[Any, dict[str, Any]]:
    """A request or report with a sample in each field, and its document."""
    hints = typing.get_type_hints(kind)
    pairs = {each.name: sample(hints[each.name]) for each in fields(kind) if each.init}
    return (
        kind(**{name: value for name, (value, _) in pairs.items()}),
        {name: plain for name, (_, plain) in pairs.items()},
    )

"""The admin interface, described as OpenAPI 3.1: made from the tables that it works by.

Paths are those of `vtpmd.api.names`, requests those that `schema` validates, reports those of
`vtpmd.api.schema`, and what is said about each is what it says of itself.
"""

import inspect
import json
import re
import types
import typing
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cache
from typing import Any, Final
from uuid import UUID

from vtpmd import __version__
from vtpmd.api import names, problems
from vtpmd.api.codec import declared
from vtpmd.api.schema import Progress, Report, Request

from .handlers import CREATING, Handler
from .schema import json_schema

Schema = dict[str, Any]

_ABOUT: Final = (
    "HTTP/1.1 over the Unix socket of the daemon, for root, the daemon's user and the admin group. "
    "What is unknown in a request is refused; what is unknown in an answer is to be ignored. What "
    "stays as it is within /v1, and for how long: docs/api.md."
)
_NAME: Final = {
    "name": "name",
    "in": "path",
    "required": True,
    "description": "The name or the UUID of an instance, or the name of a key provider.",
    "schema": {"type": "string"},
}
_KEY: Final = {
    "name": names.IDEMPOTENCY_KEY,
    "in": "header",
    "required": False,
    "description": "A name for this request: with the same one it may be sent again for a day.",
    "schema": {"type": "string", "pattern": f"^{names.IDEMPOTENCY_KEY_PATTERN}$"},
}
_LOCATION: Final = {"Location": {"schema": {"type": "string"}, "description": "Of the instance."}}
_PLAIN: Final[dict[object, Schema]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    bool: {"type": "boolean"},
    object: {},
    datetime: {"type": "string", "format": "date-time"},
    UUID: {"type": "string", "format": "uuid"},
}
_KEYS: Final[dict[object, Schema]] = {str: {}, int: {"propertyNames": {"pattern": "^[0-9]+$"}}}
_RAISES: Final = re.compile(r"\s*Raises OperationError[^.]*\.")
"""What a docstring says of its function alone."""
_TEXT: Final = {"type": "string"}
_PROBLEM: Final[Schema] = {
    "type": "object",
    "description": "Why a request was not carried out (RFC 9457). "
    + "; ".join(
        f"{each.code} ({each.status}): {each.title}" for each in problems.PROBLEMS.values()
    ),
    "properties": {
        "type": _TEXT, "title": _TEXT, "status": {"type": "integer"}, "detail": _TEXT,
        "code": _TEXT,
    },
    "required": ["type", "title", "status", "detail", "code"],
}  # fmt: skip


def document(handlers: Mapping[names.Route, Handler]) -> bytes:
    """The description of these operations, as JSON."""
    return _written(tuple(handlers.items()))


@cache
def _written(handlers: tuple[tuple[names.Route, Handler], ...]) -> bytes:
    parts = _Parts()
    paths: dict[str, Schema] = {}
    for route, handler in handlers:
        paths.setdefault(route.path, {})[route.method.lower()] = parts.operation(route, handler)
    content = {
        "openapi": "3.1.0",
        "info": {"title": "vtpmd", "version": __version__, "description": _ABOUT},
        "servers": [{"url": "/", "description": f"On {names.DEFAULT_ADMIN_SOCKET}."}],
        "paths": paths,
        "components": {"schemas": dict(sorted(parts.schemas.items()))},
    }
    return json.dumps(content).encode() + b"\n"


class _Parts:
    """The operations, and the schemas that they refer to."""

    def __init__(self) -> None:
        self.schemas: dict[str, Schema] = {"Problem": _PROBLEM}

    def operation(self, route: names.Route, handler: Handler) -> Schema:
        """One method of one path."""
        told = _RAISES.sub("", inspect.cleandoc(handler.operation.__doc__ or ""))
        summary, _, description = told.partition("\n")
        made: Schema = {
            "operationId": _identifier(route, handler),
            "summary": summary.strip(),
            "description": description.strip(),
            "parameters": list(self._parameters(route, handler)),
            "responses": self._responses(route, handler),
        }
        if (body := self._body(handler)) is not None:
            made["requestBody"] = body
        return made

    def _parameters(self, route: names.Route, handler: Handler) -> Iterator[Schema]:
        if "{name}" in route.path:
            yield _NAME
        if handler.idempotent:
            yield _KEY
        if handler.query is not None:
            schema = json_schema(handler.query)
            for name, each in schema["properties"].items():
                required = name in schema.get("required", ())
                yield {"name": name, "in": "query", "required": required, "schema": each}

    def _body(self, handler: Handler) -> Schema | None:
        if handler.upload:
            return {"required": True, "content": {handler.upload: {"schema": {}}}}
        if handler.body is None:
            return None
        schema = json_schema(handler.body)
        self.schemas[handler.body.__name__] = schema
        content = {"application/json": {"schema": _reference(handler.body)}}
        return {"required": "required" in schema, "content": content}

    def _responses(self, route: names.Route, handler: Handler) -> Schema:
        problem = {names.PROBLEM_MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
        refused = {"description": "It was not carried out.", "content": problem}
        report = typing.get_type_hints(handler.operation)["return"]
        if report is types.NoneType:
            return {"204": {"description": "Done."}, "default": refused}
        if report is bytes:
            content: Schema = {handler.media_type: {"schema": {}}}
        else:
            content = {"application/json": {"schema": self._report(report)}}
        if handler.tells:
            content[names.PROGRESS_MEDIA_TYPE] = {"schema": self._line(report)}
        done: Schema = {"description": "Done.", "content": content}
        if route in CREATING:
            return {"201": {**done, "headers": _LOCATION}, "default": refused}
        return {"200": done, "default": refused}

    def _line(self, report: type[Report]) -> Schema:
        """Of each line of an answer that tells how far an operation is; the last is no progress."""
        return {
            "type": "object",
            "properties": {
                "progress": self._report(Progress),
                "result": self._report(report),
                "problem": {"$ref": "#/components/schemas/Problem"},
            },
            "minProperties": 1,
            "maxProperties": 1,
        }

    def _report(self, report: type[Report]) -> Schema:
        if report.__name__ not in self.schemas:
            hints = typing.get_type_hints(report)
            fields = [each.name for each in declared(report)]
            self.schemas[report.__name__] = {}  # a report may hold others of its kind
            self.schemas[report.__name__] = {
                "type": "object",
                "description": inspect.getdoc(report) or "",
                "properties": {name: self._field(hints[name]) for name in fields},
                "required": fields,
            }
        return _reference(report)

    def _field(self, annotation: Any) -> Schema:
        if annotation in _PLAIN:
            return _PLAIN[annotation]
        if isinstance(annotation, type) and issubclass(annotation, Report):
            return self._report(annotation)
        origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
        if origin is tuple:
            return {"type": "array", "items": self._field(arguments[0])}
        if origin is dict:
            values = {"additionalProperties": self._field(arguments[1])}
            return {"type": "object", **_KEYS[arguments[0]], **values}
        if origin is types.UnionType and arguments[1:] == (types.NoneType,):
            return {"anyOf": [self._field(arguments[0]), {"type": "null"}]}
        raise TypeError(f"a report cannot have a field of type {annotation}")


def _identifier(route: names.Route, handler: Handler) -> str:
    """The operation's name; behind that of the noun, where the verb is of several words."""
    module = handler.operation.__module__.rpartition(".")[2]
    name = handler.operation.__name__.strip("_")
    is_noun = module == route.verb.partition(" ")[0] and module not in name
    return f"{module}_{name}" if is_noun else name


def _reference(of: type[Report] | type[Request]) -> Schema:
    return {"$ref": f"#/components/schemas/{of.__name__}"}

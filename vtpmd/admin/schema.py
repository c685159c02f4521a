"""The daemon's half of the admin interface's schema: requests are validated, strictly.

The fields and their defaults are those of `vtpmd.api.schema`; here stands only what some of them
must be beyond their type.
"""

import inspect
from collections import Counter
from collections.abc import Callable
from dataclasses import MISSING, fields
from functools import cache
from typing import Annotated, Any, Final, Literal, TypeVar, get_type_hints
from urllib.parse import parse_qsl

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
)

from vtpmd.api import problems
from vtpmd.api.problems import OperationError
from vtpmd.api.schema import Request
from vtpmd.api.watching import MAX_WAIT
from vtpmd.config.schema import ClonePolicy, EkKind, PcrBanks, Profile, socket_mode

SomeRequest = TypeVar("SomeRequest", bound=Request)

STRICT: Final = ConfigDict(strict=True, extra="forbid", hide_input_in_errors=True)


def _octal(mode: str) -> str:
    """A mode as it is stored; an empty text stands for that of the configuration."""
    return mode and f"{socket_mode(mode):04o}"


# Field -> its type here, in every request that has it.
CONSTRAINTS: Final[dict[str, Any]] = {
    "pcr_banks": Annotated[PcrBanks, AfterValidator(tuple)] | None,
    "profile": Profile | None,
    "policy": ClonePolicy | None,
    "owner": Annotated[str, Field(max_length=256)] | None,
    "mode": Annotated[str, AfterValidator(_octal)] | None,
    "since": AwareDatetime | None,
    "after": Annotated[int, Field(ge=0, le=1 << 62)],
    "instance": Annotated[str, Field(max_length=64)] | None,
    "wait": Annotated[int, Field(ge=0, le=MAX_WAIT)],
    "step": Literal["declare", "cancel", "done"],
    "kinds": Annotated[list[EkKind], AfterValidator(tuple)] | None,
    "files": Annotated[dict[str, str], Field(min_length=1, max_length=16)],
    "roots": Annotated[dict[str, str], Field(max_length=16)] | None,
}


def parse(request: type[SomeRequest], body: bytes) -> SomeRequest:
    """A request from its JSON; an empty body is a request in which nothing is given.

    Raises OperationError, whose text names every field that is wrong.
    """
    return _validated(request, lambda model: model.model_validate_json(body or b"{}"))


def parse_query(request: type[SomeRequest], query: str) -> SomeRequest:
    """A request from what follows a question mark. Raises OperationError, as `parse`."""
    try:
        options = parse_qsl(query, keep_blank_values=True, strict_parsing=True) if query else []
    except ValueError:
        raise OperationError(problems.INVALID, "The query is not understood.") from None
    if twice := [name for name, count in Counter(name for name, _ in options).items() if count > 1]:
        raise OperationError(problems.INVALID, f"{', '.join(twice)}: given more than once")
    return _validated(request, lambda model: model.model_validate_strings(dict(options)))


def json_schema(request: type[Request]) -> dict[str, Any]:
    """What `parse` and `parse_query` demand of a request, as far as JSON Schema can say it."""
    schema = _model(request).model_json_schema()  # type: ignore[arg-type]  # as below
    for each in schema["properties"].values():
        del each["title"]  # the name once more
    return {"description": inspect.getdoc(request) or "", **schema}


_WORDS: Final = {"extra_forbidden": "is not known here", "missing": "is missing"}
"""What is said instead of pydantic's own words."""


def _validated(
    request: type[SomeRequest], validate: Callable[[type[BaseModel]], BaseModel]
) -> SomeRequest:
    model = _model(request)  # type: ignore[arg-type]  # mypy takes no class for hashable
    try:
        return request(**dict(validate(model)))
    except ValidationError as error:
        reasons = [
            f"{'.'.join(map(str, detail['loc'])) or 'body'}: "
            + _WORDS.get(detail["type"], detail["msg"].removeprefix("Value error, "))
            for detail in error.errors(include_url=False, include_input=False)
        ]
        raise OperationError(problems.INVALID, "; ".join(reasons)) from None


@cache
def _model(request: type[Request]) -> type[BaseModel]:
    types = get_type_hints(request) | CONSTRAINTS
    definitions: dict[str, Any] = {
        each.name: (types[each.name], ... if each.default is MISSING else each.default)
        for each in fields(request)
    }
    return create_model(request.__name__, __config__=STRICT, **definitions)

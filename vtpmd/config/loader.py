"""Reads a YAML file into a Configuration, or reports all its problems at once."""

from pathlib import Path

from pydantic import ValidationError

from . import document
from .document import MAX_SIZE, KeyPath
from .schema import Configuration


class ConfigurationError(document.DocumentError):
    """The configuration cannot be used."""


def load(path: Path) -> Configuration:
    """Read and check `path`. Raises ConfigurationError with all problems and their lines."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_SIZE + 1)
    except OSError as error:
        raise ConfigurationError([f"{path}: {error.strerror}"]) from None
    if len(text) > MAX_SIZE:
        raise ConfigurationError([f"{path}: larger than {MAX_SIZE} bytes"])
    return parse(text, str(path))


def parse(text: bytes, source: str) -> Configuration:
    """Check the text of a configuration, named `source` in problems. Raises ConfigurationError."""
    try:
        content, lines = document.read(text, source)
    except document.DocumentError as error:
        raise ConfigurationError(error.problems) from None
    try:
        return Configuration.model_validate({} if content is None else content)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        found = sorted(_describe(lines, detail["loc"], detail["msg"]) for detail in details)
        raise ConfigurationError([f"{source}:{line}: {reason}" for line, reason in found]) from None


def _describe(lines: dict[KeyPath, int], location: KeyPath, message: str) -> tuple[int, str]:
    known = location = _as_written(lines, location)
    while known and known not in lines:
        known = known[:-1]
    where = ".".join(map(str, location))
    reason = message.removeprefix("Value error, ")
    return lines.get(known, 1), f"{where}: {reason}" if where else reason


def _as_written(lines: dict[KeyPath, int], location: KeyPath) -> KeyPath:
    """Leave out the branches of unions, which are in pydantic's locations but not in the file."""
    written: KeyPath = ()
    for part in location[:-1]:
        if (*written, part) in lines:
            written = (*written, part)
    return (*written, *location[-1:])

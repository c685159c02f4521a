"""Reads a YAML file into a Configuration, or reports all its problems at once."""

from pathlib import Path

import yaml
from pydantic import ValidationError
from yaml.reader import ReaderError

from .schema import Configuration

MAX_SIZE = 1024 * 1024
MAX_DEPTH = 20
MAX_VALUES = 10_000
"""As many as there are when each alias is replaced by what it stands for."""

KeyPath = tuple[str | int, ...]


class ConfigurationError(Exception):
    """The configuration cannot be used; `problems` has one line for each problem."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


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
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        lines: dict[KeyPath, int] = {}
        problems = _survey(root, (), lines) if root is not None else []
        content = yaml.safe_load(text) if not problems else None
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigurationError([f"{source}{line}: not YAML: {error.problem}"]) from None
    except ReaderError as error:
        where = f"{error.reason} at byte {error.position}"
        raise ConfigurationError([f"{source}: not YAML: {where}"]) from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise ConfigurationError([f"{source}: not YAML"]) from None
    if problems:
        told = dict.fromkeys(problems)  # once, though aliases repeat them
        raise ConfigurationError([f"{source}:{line}: {reason}" for line, reason in told])
    try:
        return Configuration.model_validate({} if content is None else content)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        found = sorted(_describe(lines, detail["loc"], detail["msg"]) for detail in details)
        raise ConfigurationError([f"{source}:{line}: {reason}" for line, reason in found]) from None


def _survey(node: yaml.Node, path: KeyPath, lines: dict[KeyPath, int]) -> list[tuple[int, str]]:
    """Record the line of every path; report mistakes that YAML silently accepts."""
    lines[path] = line = node.start_mark.line + 1
    if len(path) > MAX_DEPTH:
        return [(line, "nested too deeply")]
    if len(lines) > MAX_VALUES:
        return [(line, f"more than {MAX_VALUES} values, aliases replaced")]
    problems: list[tuple[int, str]] = []
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            problems += _survey(item, (*path, index), lines)
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                problems.append((key.start_mark.line + 1, "a key must be a word"))
                continue
            if key.value in seen:
                problems.append((key.start_mark.line + 1, f"{key.value} appears twice"))
            seen.add(key.value)
            problems += _survey(value, (*path, key.value), lines)
            lines[(*path, key.value)] = key.start_mark.line + 1
    return problems


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

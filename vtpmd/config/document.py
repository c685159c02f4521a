"""YAML as people write it, read strictly: what YAML silently accepts is a problem with its line."""

from typing import Final

import yaml
from yaml.reader import ReaderError

MAX_SIZE: Final = 1024 * 1024
MAX_DEPTH: Final = 20
MAX_VALUES: Final = 10_000
"""As many as there are when each alias is replaced by what it stands for."""

KeyPath = tuple[str | int, ...]


class DocumentError(Exception):
    """The text cannot be used; `problems` has one line for each problem."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def read(text: bytes, source: str) -> tuple[object, dict[KeyPath, int]]:
    """The content of a document, and the line of each part of it.

    `source` is its name in problems. Raises DocumentError.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        lines: dict[KeyPath, int] = {}
        problems = _survey(root, (), lines) if root is not None else []
        content = yaml.safe_load(text) if not problems else None
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise DocumentError([f"{source}{line}: not YAML: {error.problem}"]) from None
    except ReaderError as error:
        where = f"{error.reason} at byte {error.position}"
        raise DocumentError([f"{source}: not YAML: {where}"]) from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise DocumentError([f"{source}: not YAML"]) from None
    if problems:
        told = dict.fromkeys(problems)  # once, though aliases repeat them
        raise DocumentError([f"{source}:{line}: {reason}" for line, reason in told])
    return content, lines


def write(content: object) -> str:
    """A document with this content in ASCII, in which keys stay in their order."""
    return yaml.safe_dump(content, sort_keys=False, width=100)


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

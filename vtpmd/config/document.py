"""YAML as people write it, read strictly: what YAML silently accepts is a problem with its line."""

from typing import Any, Final

import yaml
from yaml.reader import ReaderError

MAX_SIZE: Final = 1024 * 1024
MAX_DEPTH: Final = 20
MAX_VALUES: Final = 10_000
"""As many as there are when each alias is replaced by what it stands for."""
_TOO_DEEP: Final = "nested too deeply"
_TOO_MANY: Final = f"more than {MAX_VALUES} values, aliases replaced"

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
        loader = _Loader(text)
        root = loader.get_single_node()
        lines: dict[KeyPath, int] = {}
        problems = _survey(root, (), lines) if root is not None else []
        content = loader.construct_document(root) if root is not None and not problems else None
    except _LimitError as error:
        raise DocumentError([f"{source}:{error.line}: {error}"]) from None
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


class _LimitError(Exception):
    """There is more of something than is read, in this line."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line


class _Loader(yaml.SafeLoader):
    """Stops where a limit is passed: how long the rest takes grows faster than its size."""

    _depth = 0
    _nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._depth += 1
        self._nodes += 1
        if self._depth > MAX_DEPTH + 1:
            raise _LimitError(self.line + 1, _TOO_DEEP)
        if self._nodes > 2 * MAX_VALUES:  # keys are nodes, too
            raise _LimitError(self.line + 1, _TOO_MANY)
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node


def write(content: object) -> str:
    """A document with this content in ASCII, in which keys stay in their order."""
    return yaml.safe_dump(content, sort_keys=False, width=100)


def _survey(node: yaml.Node, path: KeyPath, lines: dict[KeyPath, int]) -> list[tuple[int, str]]:
    """Record the line of every path; report mistakes that YAML silently accepts."""
    lines[path] = line = node.start_mark.line + 1
    if len(path) > MAX_DEPTH:
        return [(line, _TOO_DEEP)]
    if len(lines) > MAX_VALUES:
        return [(line, _TOO_MANY)]
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

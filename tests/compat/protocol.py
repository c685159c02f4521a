"""What each version of the protocol between our processes sends, written down line by line.

A line says of a message who sends it, when, and with how many descriptors; of a field, its type and
default; of a field that takes words, each of them. `python -m tests.compat.samples` writes it.
"""

from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from packaging.version import parse

from vtpmd import __version__
from vtpmd.ipc.rules import RULES, Rule
from vtpmd.ipc.version import PROTOCOL, Version

WRITTEN = Path(__file__).parent / "protocol"
BINDING = parse(__version__) >= parse("0.2.0")
"""Whether what a version sends is fixed, so that any change makes a new one."""


def described() -> str:
    """What this version sends."""
    lines: set[str] = set()
    for kind, rule in RULES.items():
        lines.add(f"{kind.__name__}: {_ruled(rule)}")
        lines.update(_fields(kind))
    return "\n".join(sorted(lines)) + "\n"


def versions() -> list[Version]:
    """Those that are written down, oldest first."""
    found = (map(int, path.stem.split(".")) for path in WRITTEN.iterdir())
    return sorted((Version(*numbers) for numbers in found), key=lambda it: (it.major, it.minor))


def write() -> None:
    """Write down what this version sends, unless that is fixed."""
    if not (BINDING and PROTOCOL in versions()):
        (WRITTEN / f"{PROTOCOL}.txt").write_text(described())


def read(version: Version) -> str:
    """What a version sends, as it was written down."""
    return (WRITTEN / f"{version}.txt").read_text()


def _ruled(rule: Rule) -> str:
    states = " ".join(sorted(state.value for state in rule.states))
    then = f" then {rule.then.value}" if rule.then else ""
    descriptors = " or ".join(map(str, rule.fds))
    return f"by {rule.sender.value} in {states}{then}, {descriptors} descriptors"


def _fields(cls: type) -> Iterator[str]:
    hints = get_type_hints(cls)
    for field in fields(cls):
        hint, where = hints[field.name], f"{cls.__name__}.{field.name}"
        yield f"{where}: {_named(hint)}{_default(field)}"
        for part in _parts(hint):
            if get_origin(part) is Literal:
                yield from (f"{where}: {word!r}" for word in get_args(part))
            elif is_dataclass(part):
                assert isinstance(part, type)
                yield from _fields(part)


def _parts(hint: Any) -> Iterator[Any]:
    """A type and all types that it is made of."""
    yield hint
    if get_origin(hint) is not Literal:
        for part in get_args(hint):
            yield from _parts(part)


def _named(hint: Any) -> str:
    if hint is ...:
        return "..."
    if get_origin(hint) is Literal:
        return "word"
    arguments = ", ".join(map(_named, get_args(hint)))
    return f"{hint.__name__}[{arguments}]" if arguments else str(hint.__name__)


def _default(field: Field[Any]) -> str:
    if field.default_factory is not MISSING:
        return f" = {field.default_factory()!r}"
    return "" if field.default is MISSING else f" = {field.default!r}"

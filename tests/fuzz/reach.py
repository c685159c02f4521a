"""How far a corpus gets: python -m tests.fuzz.reach TARGET CORPUS.

Runs every input of a corpus and the target's seeds once, and prints one line: how many inputs there
are, and of each package of vtpmd how many lines in functions they have reached, of how many in the
modules that they entered.
"""

import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import vtpmd
from tests.fuzz import seeds

_ROOT = Path(vtpmd.__file__).parent
_MODULE_LEVEL = "<module>"


class Reach:
    """The lines of vtpmd's functions that have been run, by file."""

    def __init__(self) -> None:
        self.lines: defaultdict[str, set[int]] = defaultdict(set)

    def trace(self, frame: FrameType, event: str, _argument: object) -> Any:
        """A trace function for `sys.settrace`; module and class bodies don't count."""
        code = frame.f_code
        if event == "call" and not (code.co_filename.startswith(str(_ROOT)) and _counts(code)):
            return None
        if event == "line":
            self.lines[code.co_filename].add(frame.f_lineno)
        return self.trace

    def summary(self) -> str:
        """Lines reached of the lines there are, of each package."""
        reached: defaultdict[str, int] = defaultdict(int)
        present: defaultdict[str, int] = defaultdict(int)
        for name, lines in self.lines.items():
            package = ".".join(Path(name).relative_to(_ROOT).with_suffix("").parts[:2])
            reached[package] += len(lines)
            present[package] += len(_lines(name))
        total = f"{sum(reached.values())}/{sum(present.values())} lines"
        packages = (f"{name} {reached[name]}/{present[name]}" for name in sorted(reached))
        return f"{total}: {', '.join(packages)}"


def _lines(name: str) -> set[int]:
    """The lines of a file's functions that can be run."""
    module = compile(Path(name).read_text(), name, "exec")
    return {line for code in _functions(module) for _, _, line in _code_lines(code)}


def _code_lines(code: CodeType) -> Iterator[tuple[int, int, int]]:
    for start, end, line in code.co_lines():
        if line is not None and line != code.co_firstlineno:
            yield start, end, line


def _functions(code: CodeType) -> Iterator[CodeType]:
    if _counts(code):
        yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _functions(constant)


def _counts(code: CodeType) -> bool:
    is_function = bool(code.co_flags & 2)  # CO_NEWLOCALS, which class bodies and modules lack
    return is_function and code.co_name != _MODULE_LEVEL


def reach(target: str, corpus: Path) -> str:
    """The line for a target and a corpus, which may be missing."""
    from tests.fuzz.targets import TARGETS

    inputs = set(seeds.read(target).values())
    if corpus.is_dir():
        inputs |= {path.read_bytes() for path in corpus.iterdir()}
    found = Reach()
    sys.settrace(found.trace)
    try:
        for octets in sorted(inputs):
            TARGETS[target](octets)
    finally:
        sys.settrace(None)
    return f"{len(inputs)} inputs reach {found.summary()}"


if __name__ == "__main__":
    print(reach(sys.argv[1], Path(sys.argv[2])))

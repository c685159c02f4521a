"""Pages of the documentation as what can be carried out: commands, files, and what is printed.

What stands behind a fence says what becomes of the block:

    sh [HOST]           commands, each of which ends with status 0, or with one of those that its
                        comment names (`# exit status 7 or 8`)
    console [HOST]      commands behind `$ `, each with what it prints; … stands for anything
    yaml FILE           a part of the configuration, whose settings are put into FILE
    LANGUAGE FILE       the file has this content from here on
    text                nothing that a reader types

HOST: `other` is another host with a daemon of its own; `guest` is in a machine, whose TPM is web1's
on that host; by default it is the host itself. All share one directory.
"""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

SHELL, CONSOLE = "sh", "console"
_FENCE = re.compile(r"^( *)```(.*)$")
_STATUSES = re.compile(r"#.*\bexit status ([0-9]+(?:(?:, | or )[0-9]+)*)")
_OPEN = ("unexpected end of file", "unexpected EOF", "here-document")
"""What bash says of a command that goes on."""
_PROMPT = "$ "
ANYTHING = "…"


@dataclass
class Fence:
    """A fenced block: where it begins, the words behind its fence, and its lines."""

    line: int
    language: str
    argument: str
    lines: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(f"{line}\n" for line in self.lines)

    @property
    def runs(self) -> bool:
        return self.language in (SHELL, CONSOLE)


@dataclass
class Command:
    """A command, complete with its continuation lines; None: its output is not shown."""

    line: int
    text: str
    statuses: frozenset[int] = frozenset({0})
    output: list[str] | None = None

    def prints(self, said: str) -> bool:
        """Whether what was printed is what the page shows."""
        if self.output is None:
            return True
        pattern = "".join(
            "(?:.*\n)*?" if line.strip() == ANYTHING else f"{_pattern(line)}\n"
            for line in self.output
        )
        lines = "".join(f"{line.rstrip()}\n" for line in said.splitlines())
        return re.fullmatch(pattern, lines) is not None


def _pattern(line: str) -> str:
    return ".*".join(re.escape(part) for part in line.rstrip().split(ANYTHING))


def fences(page: Path) -> list[Fence]:
    """The fenced blocks of a page, without the indentation of lists. Raises ValueError."""
    found: list[Fence] = []
    inside: Fence | None = None
    indentation = 0
    for number, line in enumerate(page.read_text().splitlines(), 1):
        fence = _FENCE.match(line)
        if inside is None and fence:
            language, _, argument = fence[2].partition(" ")
            inside, indentation = Fence(number, language, argument), len(fence[1])
        elif inside is not None and fence:
            found.append(inside)
            inside = None
        elif inside is not None:
            inside.lines.append(line[indentation:])
    if inside is not None:
        raise ValueError(f"{page.name}:{inside.line}: the fence does not end")
    return found


def commands(fence: Fence) -> list[Command]:
    """The commands of a block that runs."""
    if fence.language == CONSOLE:
        return list(_typed(fence))
    return list(_written(fence))


def _written(fence: Fence) -> Iterator[Command]:
    numbered = iter(enumerate(fence.lines, fence.line + 1))
    for number, line in numbered:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        text = line
        while not _complete(text):
            _, more = next(numbered, (0, None))
            if more is None:
                raise ValueError(f"line {number}: the command does not end")
            text += f"\n{more}"
        yield Command(number, text, _statuses(text))


def _typed(fence: Fence) -> Iterator[Command]:
    current: Command | None = None
    for number, line in enumerate(fence.lines, fence.line + 1):
        if line.startswith(_PROMPT):
            if current:
                yield current
            text = line.removeprefix(_PROMPT)
            current = Command(number, text, _statuses(text), [])
        elif current is None or current.output is None:
            raise ValueError(f"line {number}: output of no command")
        else:
            current.output.append(line)
    if current:
        yield current


def _complete(text: str) -> bool:
    """Whether this is a whole command, as the shell reads it; raise ValueError if it never is."""
    read = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True)
    if text.endswith("\\") or any(open_ in read.stderr for open_ in _OPEN):
        return False
    if read.returncode:
        raise ValueError(read.stderr)
    return True


def _statuses(text: str) -> frozenset[int]:
    """The exit statuses that a command's comment names."""
    found = _STATUSES.search(text)
    return frozenset(map(int, re.findall("[0-9]+", found[1]))) if found else frozenset({0})

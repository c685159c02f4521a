"""One word for one thing: GLOSSARY.md decides, and the sources are read for what it turns down.

Also the style of names, docstrings and modules, as far as ruff does not know it.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GLOSSARY = ROOT / "docs/GLOSSARY.md"
SOURCES = [
    path
    for room in ("vtpmd", "tests", "examples")
    for path in sorted((ROOT / room).rglob("*.py"))
    if path != Path(__file__)
]
LONGEST = 400
_CLASS = re.compile(r"^\s*class (\w+)", re.MULTILINE)
_RAISED = re.compile(r"\braise\s+(?:\w+\.)*(\w+)")
LONG = {"vtpmd/tpm/wire/constants.py": "a table of constants"}

EXCEPTIONS = {
    ("child", "vtpmd/tpm"): "Part 1: an object below a Storage Parent",
    ("child", "vtpmd/linux"): "fork(2): any process that comes of it",
    ("child", "vtpmd/daemon.py"): "the same",
    ("child", "vtpmd/worker/zygote.py"): "the same, before it is a worker",
    ("child", "vtpmd/worker/errors.py"): "the same",
    ("child", "vtpmd/standalone/detach.py"): "the same",
    ("child", "vtpmd/kms/pkcs11"): "the process that has the module; no worker",
    ("child", "tests"): "any process or object below another",
    ("service", "vtpmd/kms"): "a key service in the network",
    ("service", "tests/kms"): "the same",
    ("service", "vtpmd/spawn/process.py"): "the same",
    ("service", "vtpmd/linux"): "the service manager, systemd",
    ("service", "vtpmd/cli/__init__.py"): "the same",
    ("service", "tests/test_systemd.py"): "the same",
    ("service", "vtpmd/attest/eventlog/types.py"): "boot services, of UEFI",
    ("virtual TPM", "vtpmd/cli/vtpmctl.py"): "the first line of --help, for who has no glossary",
}
"""(word, where) -> what else it means there."""


@cache
def refused() -> dict[str, str]:
    """Word that the glossary turns down -> the one to use."""
    rows = [line.strip("|").split("|") for line in GLOSSARY.read_text().splitlines()]
    return {
        word: row[0].strip()
        for row in rows
        if len(row) == 3 and row[2].strip() not in ("", "not", "---")
        for word in map(str.strip, row[2].split(","))
    }


def forms(word: str) -> set[str]:
    """A word and what English makes of it, in lower case."""
    base = word.lower()
    return {base, f"{base[:-1]}ing", *(base + end for end in ("s", "es", "d", "ed", "ing", "ren"))}


def words(text: str) -> list[str]:
    """The words of a text or a name, in lower case: `HTTPServer.on_closed` has four."""
    return [word.lower() for word in re.findall(r"[A-Z]+s?(?![a-z])|[A-Z]?[a-z]+", text)]


def occurs(word: str, text: str) -> bool:
    """Whether a word of the glossary, which may be two, is in a text."""
    spoken, length = words(text), len(word.split())
    return any(" ".join(spoken[at : at + length]) in forms(word) for at in range(len(spoken)))


@cache
def read(path: Path) -> str:
    return path.read_text()


@cache
def tree(path: Path) -> ast.Module:
    """The syntax tree; to parse all modules takes seconds, so tests first look into the text."""
    return ast.parse(read(path))


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of every docstring, comment and name of a module, its own name included."""
    yield 0, path.stem
    for token in tokenize.generate_tokens(io.StringIO(read(path)).readline):
        if token.type in (tokenize.NAME, tokenize.COMMENT):
            yield token.start[0], token.string
    yield from docstrings(tree(path))


def docstrings(module: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and text of every docstring, those of constants included."""
    for node in ast.walk(module):
        match node:
            case ast.Expr(ast.Constant(str(text))):
                yield node.lineno, text


def permitted(word: str, path: Path) -> tuple[str, str] | None:
    """The exception that lets a word stand in a module."""
    name = path.relative_to(ROOT).as_posix()
    for key in EXCEPTIONS:
        where = key[1]
        if key[0] == word and (name == where or name.startswith(f"{where}/")):
            return key
    return None


@cache
def found() -> dict[str, list[tuple[Path, int]]]:
    """Where each refused word stands."""
    everything: dict[str, list[tuple[Path, int]]] = {word: [] for word in refused()}
    for path in SOURCES:
        spoken = {path.stem, *words(path.stem), *words(read(path))}
        for word, places in everything.items():
            if not spoken.isdisjoint(forms(word.split()[0])):
                places += [(path, line) for line, text in texts(path) if occurs(word, text)]
    return everything


def test_the_glossary_is_read() -> None:
    assert {"twin", "hire", "virtual TPM", "child", "corrupt"} <= set(refused())
    assert words("HTTPServer.on_closed") == ["http", "server", "on", "closed"]
    for word, text in [("twin", "two_twins"), ("hire", "Hiring"), ("virtual TPM", "virtual TPMs")]:
        assert occurs(word, text)
    for word, text in [
        ("site", "opposite"),
        ("born", "stubborn"),
        ("virtual TPM", "virtual_is TPM"),
    ]:
        assert not occurs(word, text)


@pytest.mark.parametrize("word", refused())
def test_no_word_the_glossary_turns_down(word: str) -> None:
    bad = [
        f"{path.relative_to(ROOT)}:{line}"
        for path, line in found()[word]
        if permitted(word, path) is None
    ]
    assert bad == [], f"say {refused()[word]}, not {word}"


def test_every_exception_is_needed() -> None:
    used = {permitted(word, path) for word, places in found().items() for path, _ in places}
    assert set(EXCEPTIONS) - used == set()


def test_one_style_of_backticks() -> None:
    bad = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in SOURCES
        if "`" * 2 in read(path)
        for line, text in docstrings(tree(path))
        if "`" * 2 in text
    ]
    assert bad == []


def absolute(path: Path) -> list[str]:
    """The absolute imports of a module's own room."""
    parts = path.relative_to(ROOT).parts
    if len(parts) < 3:
        return []
    room = f"{parts[0]}.{parts[1]}"
    if room not in read(path):
        return []
    names = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module is not None:
            names.append(node.module)
    return [name for name in names if name == room or name.startswith(f"{room}.")]


def test_imports_of_ones_own_room_are_relative() -> None:
    ours = [path for path in SOURCES if path.is_relative_to(ROOT / "vtpmd")]
    assert {str(path): names for path in ours if (names := absolute(path))} == {}


def test_no_module_is_too_long() -> None:
    lengths = {
        path.relative_to(ROOT).as_posix(): len(read(path).splitlines())
        for path in SOURCES
        if path.is_relative_to(ROOT / "vtpmd")
    }
    assert {name for name, length in lengths.items() if length > LONGEST} == set(LONG)


def test_what_is_raised_is_an_error_by_name() -> None:
    """ruff's N818 sees classes by their bases; this one sees what is raised."""
    ours = {name for path in SOURCES for name in _CLASS.findall(read(path))}
    raised = {name for path in SOURCES for name in _RAISED.findall(read(path))}
    assert {name for name in raised & ours if not name.endswith("Error")} == set()

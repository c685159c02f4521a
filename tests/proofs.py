"""Which commands and algorithms are tested against whom, read from the tests' own sources.

From every test function all is followed that it names: helpers, fixtures, tables, in its module and
in others below `tests`. What is found on the way says what is tested (`CC.…`, `ALG.…`) and who
judges it.
"""

import ast
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from tests.differential.differences import NOT_IN_LIBTPMS

ROOT = Path(__file__).parents[1]
Place = tuple[str, str]
"""Module and top-level name."""

SWTPM, TOOLS, RECORDED, INDEPENDENT = "swtpm", "tpm2-tools", "recordings", "cryptography"
JUDGES = (SWTPM, TOOLS, RECORDED, INDEPENDENT)
_CONSTANTS = ("CC", "ALG", "ECC_CURVE")
_LIBRARIES = ("cryptography", "dilithium_py", "hashlib", "hmac", "kyber_py")
_DRIVER = "tests.tpm.harness"
"""Makes HMACs of sessions for every test, so that it says nothing of what is tested."""
_LISTS = ("tests.differential.differences", "tests.tpm.roles", "tests.fuzz.commands")
"""Name what is not compared, and every command, of the specification or to begin fuzzing with."""
_EVIDENCE: dict[Place, str] = {
    (_DRIVER, "SwtpmPeer"): SWTPM,
    (_DRIVER, "digest"): INDEPENDENT,
    (_DRIVER, "kdfa"): INDEPENDENT,
    ("tests.tpm.wire.test_vectors", "CAPTURES"): RECORDED,
}
"""Who judges where these are used, outside of the modules that they are in."""
_TOOL_ALIASES = {
    "getcap": "GET_CAPABILITY",
    "nvdefine": "NV_DEFINE_SPACE",
    "nvundefine": "NV_UNDEFINE_SPACE",
    "nvextend": "NV_EXTEND",
    "encryptdecrypt": "ENCRYPT_DECRYPT2",
    "changeauth": "HIERARCHY_CHANGE_AUTH",
    "dictionarylockout": "DICTIONARY_ATTACK_LOCK_RESET",
    "hash": "HASH",
    "hmac": "HMAC",
}
"""Tools that are not called as the command that they send is."""


@dataclass
class _Module:
    """Top-level names of a module: what they are, and where imported ones come from."""

    nodes: dict[str, ast.AST] = field(default_factory=dict)
    imports: dict[str, Place] = field(default_factory=dict)


@cache
def _module(name: str) -> _Module:
    path = ROOT / (name.replace(".", "/") + ".py")
    found = _Module()
    if not path.exists():
        return found
    for node in ast.parse(path.read_text()).body:
        match node:
            case ast.FunctionDef(name=defined) | ast.ClassDef(name=defined):
                found.nodes[defined] = node
            case ast.Assign(targets=targets):
                for target in targets:
                    for each in ast.walk(target):
                        if isinstance(each, ast.Name):
                            found.nodes[each.id] = node
            case ast.AnnAssign(target=ast.Name(id=defined)):
                found.nodes[defined] = node
            case ast.Import(names=names):
                for alias in names:
                    found.imports[alias.asname or alias.name] = (alias.name, "")
            case ast.ImportFrom(module=str(source), names=names):
                for alias in names:
                    found.imports[alias.asname or alias.name] = (source, alias.name)
    return found


def _resolve(module: str, name: str) -> Place | None:
    """Where a name of a module, or a fixture that it can ask for, is defined."""
    found = _module(module)
    if name in found.nodes:
        return module, name
    if name in found.imports:
        return found.imports[name]
    package = module.rpartition(".")[0]
    while package:
        if name in _module(f"{package}.conftest").nodes:
            return f"{package}.conftest", name
        package = package.rpartition(".")[0]
    return None


@cache
def _references(place: Place) -> frozenset[Place]:
    """What the definition of a name refers to."""
    module, name = place
    return frozenset(_named(module, _module(module).nodes[name]))


def _named(module: str, node: ast.AST) -> Iterator[Place]:
    for each in ast.walk(node):
        match each:
            case ast.Attribute(value=ast.Name(id=base), attr=attribute):
                origin = _module(module).imports.get(base)
                if origin is not None:
                    yield ".".join(filter(None, origin)), attribute
            case ast.Name(id=name) | ast.arg(arg=name):
                place = _resolve(module, name)
                if place is not None:
                    yield place


def _reached(start: Place) -> set[Place]:
    """Everything below `tests` that a test names, directly or not."""
    reached: set[Place] = set()
    waiting = [start]
    while waiting:
        place = waiting.pop()
        module, name = place
        is_ours = module.startswith("tests.") and module not in _LISTS
        if is_ours and place not in reached and name in _module(module).nodes:
            reached.add(place)
            waiting += _references(place)
    return reached


@cache
def _constants(place: Place) -> frozenset[str]:
    module, name = place
    return frozenset(
        f"{each.value.id}.{each.attr}"
        for each in ast.walk(_module(module).nodes[name])
        if isinstance(each, ast.Attribute)
        and isinstance(each.value, ast.Name)
        and each.value.id in _CONSTANTS
    )


def _judges(reached: set[Place]) -> Iterator[str]:
    for place in reached:
        if place[0] != _DRIVER:
            for source in _references(place):
                if source in _EVIDENCE:
                    yield _EVIDENCE[source]
                elif source[0].split(".")[0] in _LIBRARIES:
                    yield INDEPENDENT


def _tools(node: ast.AST) -> Iterator[str]:
    """Commands behind the tools whose names strings begin with."""
    for each in ast.walk(node):
        if isinstance(each, ast.Constant) and isinstance(each.value, str) and each.value:
            yield f"CC.{_TOOL_ALIASES.get(word := each.value.split(' ')[0], word)}"


def proofs(commands: dict[str, int]) -> dict[str, set[str]]:
    """Judges by constant, such as `CC.SIGN` or `ALG.AES`; `commands` are names of codes."""
    by_tool = {f"CC.{name.replace('_', '').lower()}": f"CC.{name}" for name in commands}
    found: dict[str, set[str]] = defaultdict(set)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for name, node in _module(module).nodes.items():
            if not name.startswith("test_"):
                continue
            reached = _reached((module, name))
            judges = set(_judges(reached))
            for constant in set().union(*map(_constants, reached)):
                found[constant] |= judges
            if module.startswith("tests.conformance."):
                for tool in _tools(node):
                    found[by_tool.get(tool, tool)].add(TOOLS)
    for constant in NOT_IN_LIBTPMS:
        found[constant].discard(SWTPM)
    return found

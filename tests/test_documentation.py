"""What the documents say of files, commands, rooms and verbs is so."""

import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tests import architecture
from tests.test_layering import DIRECT
from vtpmd.cli.vtpmctl import main as vtpmctl
from vtpmd.kms.registry import BUILT_IN_TYPES

ROOT = Path(__file__).parents[1]
ARCHITECTURE, GLOSSARY = ROOT / "docs/ARCHITECTURE.md", ROOT / "docs/GLOSSARY.md"
VERBS, KEY_PROVIDERS = ROOT / "docs/commands.md", ROOT / "docs/kms.md"
DOCUMENTS = [
    *sorted(ROOT.glob("*.md")),
    *(path for room in ("docs", "systemd", "tests", "examples", "packaging")
      for path in sorted((ROOT / room).rglob("*.md"))),
]  # fmt: skip
BASES = ("", "vtpmd", "vtpmd/tpm", "tests")
"""What a path in a document may be relative to, besides the document's own directory."""
ROOMS = {path.name for path in (ROOT / "vtpmd").iterdir() if (path / "__init__.py").exists()}

_CODE = re.compile(r"`([^`\n]+)`")
_PATH = re.compile(r"[\w.][\w.*<>-]*(?:/[\w.*<>-]*)+|[\w-]+\.(?:py|md)")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_SCRIPT = re.compile(r"(?<![\w/])scripts/[\w.]+")
_MODULE = re.compile(r"python3? (?:-\w )*-m ([\w.]+)")
NOT_OURS = frozenset(
    {
        *("D/keyring", "D/nvram", "D/nvram.replaced", "D/volatile", "D/incoming"),
        *("web1/ak.json", "web1/challenge.json", "web1/credential.blob"),
    }
)
"""Paths of examples."""

documents = pytest.mark.parametrize(
    "document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix()
)


def exists(document: Path, path: str) -> bool:
    """Whether there is such a file; what is in <> stands for anything."""
    pattern = re.sub(r"<[^>]*>", "*", path).rstrip("/")
    bases = [document.parent, *(ROOT / base for base in BASES)]
    return any(True for base in bases for _ in base.glob(pattern))


def cells(document: Path, head: str) -> list[list[str]]:
    """The rows of the table whose first line begins with `head`."""
    lines = document.read_text().splitlines()
    (start,) = [number for number, line in enumerate(lines) if line.startswith(head)]
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return rows


@documents
def test_paths_exist(document: Path) -> None:
    named = {code for code in _CODE.findall(document.read_text()) if _PATH.fullmatch(code)}
    assert {path for path in named - NOT_OURS if not exists(document, path)} == set()


@documents
def test_links_lead_somewhere(document: Path) -> None:
    local = {link for link in _LINK.findall(document.read_text()) if "://" not in link}
    assert {link for link in local if not leads(document, link)} == set()


def leads(document: Path, link: str) -> bool:
    """Whether a relative link leads to a file, and to a heading of it if it says so."""
    path, _, anchor = link.partition("#")
    target = document.parent / path if path else document
    return target.exists() and (not anchor or anchor in anchors(target))


def anchors(document: Path) -> set[str]:
    """Where links into a document may lead: its headings, as GitHub names them."""
    text = re.sub(r"^ *```.*?^ *```$", "", document.read_text(), flags=re.DOTALL | re.MULTILINE)
    found: dict[str, int] = {}
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        words = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        found[words] = found.get(words, 0) + 1
    return {
        f"{words}-{number}" if number else words
        for words, count in found.items()
        for number in range(count)
    }


@documents
def test_commands_exist(document: Path) -> None:
    text = document.read_text()
    scripts = set(_SCRIPT.findall(text))
    assert {script for script in scripts if not os.access(ROOT / script, os.X_OK)} == set()
    paths = {name: ROOT / name.replace(".", "/") for name in _MODULE.findall(text)}
    ours = {name: path for name, path in paths.items() if name.split(".")[0] in ("tests", "vtpmd")}
    runs = {
        name
        for name, path in ours.items()
        if path.with_suffix(".py").exists() or (path / "__main__.py").exists()
    }
    assert set(ours) - runs == set()


def test_state_machines_are_up_to_date() -> None:
    document = ARCHITECTURE.read_text()
    assert document == architecture.renewed(document), f"stale: run {architecture.HOW}"


def rooms_in(rows: list[list[str]], column: int) -> Iterator[str]:
    for row in rows:
        for code in _CODE.findall(row[column]):
            yield code.removeprefix("vtpmd/").split("/")[0]


def test_every_room_has_a_row() -> None:
    rows = cells(ARCHITECTURE, "| room |")
    assert sorted(rooms_in(rows, 0)) == sorted([*ROOMS, "client.py", "daemon.py"])


def test_what_a_room_may_import_exists() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = [project["dependencies"], *project["optional-dependencies"].values()]
    libraries = {re.split(r"[^\w-]", name)[0].lower() for names in required for name in names}
    named = set(rooms_in(cells(ARCHITECTURE, "| room |"), 2))
    assert named - ROOMS - libraries - {"vtpmctl", "client"} == set()


def test_what_a_room_may_import_is_what_its_rule_says() -> None:
    """Of the rooms whose rule lists them; a row that says `never` lists others."""
    rows = {next(rooms_in([row], 0)): row for row in cells(ARCHITECTURE, "| room |")}
    rules = {rule.package.removeprefix("vtpmd."): rule.only for rule in DIRECT if rule.only}
    for room in rows.keys() & rules.keys() - {"tpm"}:
        allowed = {name.split(".")[1] for name in rules[room]}
        assert set(rooms_in([rows[room]], 2)) & ROOMS == allowed, room


def test_the_page_of_verbs_has_every_verb() -> None:
    named = {
        code.removeprefix("vtpmctl ").split(" ")[0]
        for row in cells(VERBS, "| command |")
        for code in _CODE.findall(row[0])
    }
    assert named == set(vtpmctl.list_commands(click.Context(vtpmctl)))


def test_the_page_of_key_providers_has_every_type() -> None:
    rows = cells(KEY_PROVIDERS, "| provider | keeps its keys |")
    assert sorted(_CODE.findall(row[0])[0] for row in rows) == sorted(BUILT_IN_TYPES)


def test_the_glossary_has_every_type_of_key_provider() -> None:
    lines = GLOSSARY.read_text().splitlines()
    (row,) = [line for line in lines if line.startswith("| key provider |")]
    assert sorted(_CODE.findall(row)) == sorted(BUILT_IN_TYPES)

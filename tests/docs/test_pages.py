"""What the pages show is in a form that can be tried, and names verbs and options that exist."""

import ast
import importlib
import re
import shlex
from pathlib import Path

import click
import pytest

from tests.docs.host import REPOSITORY
from tests.docs.page import commands, fences
from tests.docs.prepared import LEFT_OUT, PREPARED
from vtpmd.cli.vtpmctl import main as vtpmctl

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
LANGUAGES = {"sh", "console", "text", "yaml", "ini", "hcl", "xml", "python"}
OF_A_FILE = {"yaml", "ini", "hcl"}
_INDENTED = re.compile(r"\n\n(?: {4}|\t)(?! *[-*0-9|])")
_INLINE = re.compile(r"`(vtpmctl [a-z][^`]*)`")

pages = pytest.mark.parametrize(
    "page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix()
)


def without_fences(page: Path) -> str:
    """The page's prose."""
    return re.sub(r"^ *```.*?^ *```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


@pages
def test_every_block_says_what_it_is(page: Path) -> None:
    assert _INDENTED.search(without_fences(page)) is None, "a block without a fence"
    for fence in fences(page):
        assert fence.language in LANGUAGES, fence
        assert fence.argument or fence.language not in OF_A_FILE, fence


@pages
def test_verbs_and_options_in_the_text_exist(page: Path) -> None:
    for line in _INLINE.findall(without_fences(page)):
        words = line.split()[1:]
        command: click.Command = vtpmctl
        context = click.Context(vtpmctl)
        while words and isinstance(command, click.Group) and re.match(r"[a-z]", words[0]):
            named = [word.strip("\\") for word in words.pop(0).split("|")]
            found = [each for word in named if (each := command.get_command(context, word))]
            assert len(found) == len(named), f"{line}: there is not each of {named}"
            command = found[-1]
        known = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
        said = {word.partition("=")[0] for word in re.findall(r"--[a-z-]+\w", " ".join(words))}
        assert said - known - {"--help"} == set(), line


@pages
def test_modules_of_examples_have_what_is_imported(page: Path) -> None:
    for fence in fences(page):
        if fence.language == "python":
            for statement in ast.parse(fence.text).body:
                if isinstance(statement, ast.ImportFrom) and statement.module:
                    module = importlib.import_module(statement.module)
                    assert all(hasattr(module, name.name) for name in statement.names)


def test_what_is_left_out_is_named_somewhere() -> None:
    """So that the table has nothing that no page needs."""
    typed = [
        command.text
        for page in PAGES
        for fence in fences(page)
        if fence.runs
        for command in commands(fence)
    ]
    words = {word for text in typed for word in shlex.split(text, comments=True)}
    assert {name for name in LEFT_OUT if "/" not in name} - words == set()


def test_every_preparation_is_of_a_page() -> None:
    assert {name for name in PREPARED if not (REPOSITORY / name).exists()} == set()

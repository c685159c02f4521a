"""What the documentation says vtpmd says, it says.

Messages are the first column of tables whose head is `it says`, events that of tables whose head is
`event`; … stands for what differs.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.docs.host import REPOSITORY
from tests.docs.page import ANYTHING
from vtpmd.api import errors, names, problems
from vtpmd.ipc.events import ALARMS

TROUBLESHOOTING = REPOSITORY / "docs/troubleshooting.md"
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
LEVELS = {"warning", "error", "exception"}
_CODE = re.compile(r"`([^`]+)`")


def rows(page: Path, head: str) -> Iterator[list[str]]:
    """The cells of every row of the tables whose first column has this head."""
    inside = False
    for line in page.read_text().splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not cells:
            inside = False
        elif inside and not set(line) <= set("|-"):
            yield cells
        elif cells[0] == head:
            inside = True


MESSAGES = [
    (page.relative_to(REPOSITORY).as_posix(), message)
    for page in PAGES
    for cells in rows(page, "it says")
    for message in _CODE.findall(cells[0])
]


@cache
def trees() -> list[ast.Module]:
    return [ast.parse(path.read_text()) for path in sorted((REPOSITORY / "vtpmd").rglob("*.py"))]


@cache
def templates() -> list[str]:
    """Every text in the source, with … for what is put into it."""
    found = []
    for tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else ANYTHING
                         for part in node.values]  # fmt: skip
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


@pytest.mark.parametrize(("page", "message"), MESSAGES)
def test_a_message_is_in_the_source(page: str, message: str) -> None:
    words = [re.escape(part) for part in message.split(ANYTHING)]
    pattern = re.compile(".*".join(words))
    fixed = "".join(message.split(ANYTHING)).strip()
    assert len(fixed) >= 8, "too little of it is fixed"
    assert any(pattern.search(template) for template in templates()), page


def logged() -> set[str]:
    """The events that are logged as warnings or errors."""
    return {
        str(node.args[0].value)
        for tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in LEVELS
        and node.args
        and isinstance(node.args[0], ast.Constant)
    }


def test_every_event_that_warns_is_explained() -> None:
    told = {event for cells in rows(TROUBLESHOOTING, "event") for event in _CODE.findall(cells[0])}
    assert (logged() | ALARMS) - told == set()
    assert told - set(templates()) == set()


def test_every_failure_of_vtpmctl_is_explained() -> None:
    told = [
        (int(cells[0]), kind)
        for cells in rows(TROUBLESHOOTING, "exit status")
        for kind in _CODE.findall(cells[1]) or [""]
    ]
    kinds = [*problems.PROBLEMS.values(), errors.UNREACHABLE, errors.FILE]
    assert {each for each in told if each[1]} == {(each.exit_status, each.code) for each in kinds}
    assert {status for status, _ in told} == names.EXIT_STATUSES.keys() - {0}

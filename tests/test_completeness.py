"""Every field is decided about by its maker, and shown or heeded; every operation has a test of its
own, and every act that may be refused is asked."""

import ast
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from vtpmd.admin.handlers import HANDLERS
from vtpmd.api.schema import InstanceInfo, Request
from vtpmd.ipc.messages import StatusReply
from vtpmd.supervisor.metadata import Metadata
from vtpmd.supervisor.states import Act

ROOT = Path(__file__).parents[1] / "vtpmd"
MAKERS = [
    ("worker/server.py", "StatusReply", StatusReply),
    ("operations/create.py", "Metadata", Metadata),
    ("operations/clone.py", "Metadata", Metadata),
    ("operations/restoring.py", "Metadata", Metadata),
    ("operations/incoming.py", "Metadata", Metadata),
]
"""A module, whom it calls to make what, and what that is."""

OWN_TESTS = Path(__file__).parent / "operations"
Operation = Callable[..., object]
OPERATIONS = {handler.operation for handler in HANDLERS.values()}
REQUESTS = {
    kind for each in HANDLERS.values() for kind in (each.body, each.query) if kind is not None
}
SHARED = {
    *("bundle", "bundling", "describe", "ek_report", "endorsement", "examine", "hand_over", "new"),
    *("idempotency", "progress"),
    *("restoring", "turning_back", "announced", "stored", "ticket"),
}
"""Modules of operations that are no verb, but what several of them have in common."""


def modules(room: str) -> list[str]:
    return [f"{room}/{path.name}" for path in (ROOT / room).glob("*.py")]


def tree(module: str) -> ast.Module:
    return ast.parse((ROOT / module).read_text())


def keywords(module: str, function: str) -> set[str]:
    """The keyword arguments of all calls of `function` in a module."""
    return {
        keyword.arg or ""
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == function
        for keyword in node.keywords
    }


def replaced(module: str) -> list[str]:
    """What `dataclasses.replace` is given in a module, as it is written there."""
    return [
        ast.unparse(node.args[0])
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "replace"
    ]


def attributes(module: str) -> set[str]:
    """Every attribute that is read anywhere in a module."""
    return {node.attr for node in ast.walk(tree(module)) if isinstance(node, ast.Attribute)}


@pytest.mark.parametrize(("module", "function", "made"), MAKERS, ids=lambda each: str(each))
def test_whoever_makes_one_decides_about_each_field(
    module: str, function: str, made: type[StatusReply] | type[Metadata]
) -> None:
    assert {field.name for field in fields(made)} - keywords(module, function) == set()


def test_nobody_else_makes_an_instance() -> None:
    """A field that is not decided about would come along, or be lost, without a word."""
    makers = {module for module, function, _ in MAKERS if function == "Metadata"}
    operations = modules("operations")
    assert {module for module in operations if keywords(module, "Metadata")} == makers
    changing = {module for module in operations if "metadata" in " ".join(replaced(module))}
    # The one keeps all else, for `restore` to judge, the other all but the name.
    assert changing == {"operations/bundling.py", "operations/rename.py"}


def test_everything_of_an_instance_is_filled_and_shown() -> None:
    known = {field.name for field in fields(InstanceInfo)} - {"document"}  # a client's copy
    describing = "operations/describe.py"
    assert known == keywords(describing, "InstanceInfo") | keywords(describing, "replace")
    assert known - attributes("cli/output.py") == set()


@pytest.mark.parametrize("request_", sorted(REQUESTS, key=str), ids=lambda it: it.__name__)
def test_everything_of_a_request_is_said_and_heeded(request_: type[Request]) -> None:
    """By vtpmctl, by an operation: what nobody reads would be accepted and do nothing."""
    known = {field.name for field in fields(request_)}
    assert known - set().union(*map(attributes, modules("operations"))) == set()
    said = [keywords(module, request_.__name__) for module in modules("cli/verbs")]
    assert known - set().union(*said) == set()


def test_every_operation_has_a_route() -> None:
    public = {
        (path.stem, node.name)
        for path in (ROOT / "operations").glob("*.py")
        if path.stem not in SHARED
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.AsyncFunctionDef) and not node.name.startswith("_")
    }
    assert public == {(verb_of(each), each.__name__) for each in OPERATIONS}


def verb_of(operation: Operation) -> str:
    return operation.__module__.rpartition(".")[2]


@pytest.mark.parametrize("operation", sorted(OPERATIONS, key=str), ids=lambda it: it.__qualname__)
def test_every_operation_is_tried_by_a_test_of_its_own(operation: Operation) -> None:
    """By a call, or by vtpmctl with the words of its verb, in tests/operations/test_<verb>.py."""
    test = OWN_TESTS / f"test_{verb_of(operation)}.py"
    assert test.exists(), f"{test.name} is missing"
    words = spoken(verb_of(operation), operation.__name__)
    calling = ast.parse(test.read_text())
    aliases = {
        name.asname or name.name
        for node in ast.walk(calling)
        if isinstance(node, ast.ImportFrom) and node.module == operation.__module__
        for name in node.names
        if name.name == operation.__name__
    }
    called = any(isinstance(node, ast.Name) and node.id in aliases for node in ast.walk(calling))
    said = any(words <= constants(node) for node in ast.walk(calling) if isinstance(node, ast.Call))
    assert called or said, f"{test.name} does not try {' '.join(words)}"


def spoken(verb: str, function: str) -> set[str]:
    """The words of vtpmctl for an operation."""
    if verb == "incoming":
        return {"create", "--incoming"}
    group, _, below = verb.partition("_")
    if group == "ek":
        return {group, {"requests": "csr"}.get(below, below)}
    if verb not in ("provider", "ca"):
        return {verb.replace("_", "-")}
    others = {"note_backup": "backup", "revocation_lists": "crl", "request": "csr"}
    return {verb, others.get(function, function.strip("_"))}


def constants(call: ast.Call) -> set[object]:
    """The literal arguments of a call."""
    return {argument.value for argument in call.args if isinstance(argument, ast.Constant)}


def test_every_act_is_asked_for() -> None:
    asked = {
        node.attr
        for path in ROOT.rglob("*.py")
        if path.name != "states.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "Act"
    }
    assert {act.name for act in Act} == asked

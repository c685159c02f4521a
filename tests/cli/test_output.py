"""What vtpmctl prints of what a daemon says, whatever that is."""

import json
import sys
import unicodedata
from pkgutil import iter_modules
from typing import Any

import pytest

from tests.api.samples import SAMPLES
from tests.cli.calls import ALONE, CALLS, answer
from tests.cli.conftest import Ctl
from vtpmd.api import names
from vtpmd.api.schema import WorkerInfo
from vtpmd.cli import verbs
from vtpmd.cli.output import show_fields, show_table
from vtpmd.cli.vtpmctl import VERBS

HOSTILE = {
    "escape": "\x1b[2J\x1b]0;title\x07",
    "newline": "a\nroot: yes\r\n",
    "c1": "\x9b31m\x85\x90",
    "bidirectional": "\u202eabc\u2066\u200f",
    "separators": "\u2028\u2029\x0b\x0c",
    "others": "\x00\x7f\udfff\ud800\ufeff\u200b\U000e0001",
}
PLAIN = SAMPLES[str][1]
FORBIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def poisoned(content: Any, text: str) -> Any:
    """The content with `text` in each field that holds any text, and in keys."""
    match content:
        case str():
            return text if content == PLAIN else content
        case list():
            return [poisoned(each, text) for each in content]
        case dict():
            return {
                poisoned(key, text): {"any": text} if key == "any" else poisoned(value, text)
                for key, value in content.items()
            }
    return content


def test_every_verb_is_tried() -> None:
    assert {arguments[0] for arguments in CALLS} == set(VERBS) - ALONE


def test_every_operation_has_a_command_line() -> None:
    """A route's verb is how a call of vtpmctl begins, of which each is tried."""
    routes = [value for value in vars(names).values() if isinstance(value, names.Route)]
    tried = {" ".join(call[:length]) for call in CALLS for length in (1, 2)}
    assert {route.verb for route in routes} - tried == set()


def test_every_module_of_verbs_is_a_verb() -> None:
    assert sorted(VERBS.values()) == sorted(each.name for each in iter_modules(verbs.__path__))


def unsafe(output: str) -> set[str]:
    """The categories of characters that would do something to a terminal."""
    return {unicodedata.category(each) for each in output.replace("\n", "")} & FORBIDDEN


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("arguments", CALLS, ids=" ".join)
def test_no_text_of_the_daemon_reaches_the_terminal_as_it_is(
    ctl: Ctl, arguments: tuple[str, ...], text: str
) -> None:
    plain, _ = ctl(arguments, CALLS[arguments])
    result, _ = ctl(arguments, [poisoned(each, text) for each in CALLS[arguments]])
    assert unsafe(result.output) == set()
    if arguments[0] == "libvirt-xml":  # no such path can be printed
        assert (result.exit_code, result.stdout) == (2, "")
        return
    assert result.exit_code == plain.exit_code
    assert len(result.output.splitlines()) == len(plain.output.splitlines())


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize(
    "arguments", [each for each in CALLS if each != ("version",)], ids=" ".join
)
def test_no_error_of_the_daemon_reaches_the_terminal_as_it_is(
    ctl: Ctl, arguments: tuple[str, ...], text: str
) -> None:
    problem = {"code": text, "detail": text, "title": text}
    result, _ = ctl(arguments, [problem], status=500)
    assert result.exit_code == 1
    assert unsafe(result.output) == set()
    assert len(result.stderr.splitlines()) == 1
    as_json, _ = ctl([*arguments, "--json"], [problem], status=500)
    assert json.loads(as_json.stdout) == problem
    assert as_json.output.isascii()


def with_more(content: Any) -> Any:
    """A document of a newer daemon: one more field, with text that no terminal should get."""
    return (
        content | {"newer": {"\x1b": ["\u202e", 1.5, None]}}
        if isinstance(content, dict)
        else content
    )


@pytest.mark.parametrize(
    "arguments",
    [
        each
        for each in CALLS
        if len(CALLS[each]) == 1 and not {"OUT", "version", "metrics"} & set(each)
    ],
    ids=" ".join,
)
def test_programs_get_the_document_as_it_is(ctl: Ctl, arguments: tuple[str, ...]) -> None:
    (content,) = map(with_more, CALLS[arguments])
    result, _ = ctl([*arguments, "--json"], [content])
    assert result.output.isascii()
    found = json.loads(result.stdout)
    made_here = {"qemu-args": {"arguments"}, "libvirt-xml": {"xml"}, "pcr": {"banks"}}
    if keys := made_here.get(arguments[0]):
        assert found.keys() == keys
    elif not content:
        assert found == {"deleted": arguments[-1]}
    else:
        assert found == content


def test_programs_get_all_documents_of_several(ctl: Ctl) -> None:
    for arguments, name in (("stop", "instances"), ("rekey", "rekeyed")):
        instances, content = CALLS[arguments, "--all"]
        result, _ = ctl([arguments, "--all", "--json"], [instances, with_more(content)])
        assert json.loads(result.stdout) == {name: [with_more(content)], "failed": []}


@pytest.mark.parametrize("terminal", [False, True])
def test_a_table_is_aligned_and_harmless(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    monkeypatch.setenv("TERM", "dumb")  # or rich has escape sequences of its own
    show_table(("A", "B"), [("\x9b\n", "x"), ("a", "y")])
    lines = [line.strip() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert not terminal or "─" in lines.pop(1)
    assert [unsafe(line) for line in lines] == [set()] * 3
    assert lines[1].startswith("\\x9b\\n")
    assert [lines[0].index("B"), lines[1].index("x", 5), lines[2].index("y")] == [
        lines[0].index("B")
    ] * 3


def test_fields_are_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    show_fields([("\x9b", "x"), ("a", "y")])
    assert capsys.readouterr().out == "\\x9b:  x\na:     y\n"


@pytest.mark.parametrize(
    ("access", "line"),
    [
        (
            {"owner": "alice", "group": "kvm", "configured": False, "shared": False},
            "user alice, group kvm (mode 0660, its own)",
        ),
        (
            {"owner": None, "group": "kvm", "configured": True, "shared": True},
            "group kvm (mode 0660, configured; by an access control list)",
        ),
        (
            {"owner": None, "group": None, "configured": True, "shared": False},
            "root and the daemon (mode 0660, configured)",
        ),
    ],
)
def test_people_read_who_may_connect(ctl: Ctl, access: dict[str, Any], line: str) -> None:
    (content,) = CALLS["info", "a"]
    content = content | {"access": {"mode": "0660", **access}}
    result, _ = ctl(["info", "a"], [content])
    assert f"who may connect:         {line}" in result.stdout.splitlines()


def test_people_read_what_a_worker_has_dropped(ctl: Ctl) -> None:
    (content,) = CALLS["info", "a"]
    worker = content["worker"] | {"dropped_octets": 3968, "refused_descriptors": 4}
    result, _ = ctl(["info", "a"], [content | {"worker": worker}])
    assert "dropped:                 3968 octets, 4 descriptors" in result.stdout.splitlines()


@pytest.mark.parametrize("name", answer(WorkerInfo))
def test_people_read_every_field_of_a_worker(ctl: Ctl, name: str) -> None:
    (content,) = CALLS["info", "a"]
    plain, _ = ctl(["info", "a"], [content])
    value = content["worker"][name]
    other = value + 1 if isinstance(value, int) else poisoned(value, "other")
    result, _ = ctl(["info", "a"], [content | {"worker": content["worker"] | {name: other}}])
    assert result.stdout != plain.stdout


def test_a_daemon_that_says_nothing_of_access_is_read(ctl: Ctl) -> None:
    (content,) = CALLS["info", "a"]
    older = {name: value for name, value in content.items() if name != "access"}
    result, _ = ctl(["info", "a"], [older])
    assert (result.exit_code, "who may connect" in result.stdout) == (0, False)

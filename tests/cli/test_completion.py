"""Completion in real shells, at a terminal, as somebody types."""

import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.api.scripted import document, scripted
from tests.cli.calls import INFO, answer
from vtpmd.api import schema
from vtpmd.cli.verbs.completion import SHELLS
from vtpmd.cli.vtpmctl import main

RUN = "RAN:"
"""What a function in vtpmctl's place prints before its arguments, in bash and zsh."""
START = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], 'eval "$(command vtpmctl completion bash)"'),
    "zsh": (
        ["zsh", "-f", "-i"],
        "autoload -Uz compinit; compinit -u -D; PS1='% '; "
        'eval "$(command vtpmctl completion zsh)"',
    ),
}
FUNCTION = 'vtpmctl() { printf "RA""N:"; printf "%s " "$@"; echo; }'
DEADLINE = 60.0
INSTANCES = {
    "instances": [
        INFO | {"name": name, "state": "running"} for name in ("db1", "web-1", "web-2", "\x1b[2Jw")
    ]
}
PROVIDERS = answer(schema.ProviderList)
PROVIDERS["providers"][0]["name"] = "hsm-two"


class Terminal:
    """A shell that somebody sits at."""

    def __init__(self, arguments: list[str], environment: dict[str, str], where: Path) -> None:
        self._process, self._terminal = pty.fork()
        if self._process == 0:
            os.chdir(where)
            os.execvpe(arguments[0], arguments, environment)
        self.seen = ""

    def type(self, keys: str) -> None:
        os.write(self._terminal, keys.encode())

    def wait_for(self, text: str) -> str:
        """What was printed up to a text, from the last one on."""
        deadline = time.monotonic() + DEADLINE
        while text not in self.seen:
            left = deadline - time.monotonic()
            ready, _, _ = select.select([self._terminal], [], [], max(0.0, left))
            assert ready, f"{text!r} does not come after {self.seen!r}"
            self.seen += os.read(self._terminal, 65536).decode(errors="replace")
        before, _, self.seen = self.seen.partition(text)
        return before

    def close(self) -> None:
        os.kill(self._process, signal.SIGKILL)  # it may ignore SIGHUP
        os.waitpid(self._process, 0)
        os.close(self._terminal)


@pytest.fixture(params=sorted(START))
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Terminal]:
    arguments, setup = START[request.param]
    if shutil.which(arguments[0]) is None:
        pytest.skip(f"{arguments[0]} is not installed")
    terminal = Terminal(arguments, _environment(tmp_path), tmp_path)
    try:
        terminal.type(f"{setup}; {FUNCTION}; echo rea''dy\r")
        terminal.wait_for("ready\r\n")
        yield terminal
    finally:
        terminal.close()


def _environment(where: Path) -> dict[str, str]:
    programs = Path(sys.executable).parent
    return {
        "PATH": f"{programs}:/usr/bin:/bin",
        "HOME": str(where),
        "TERM": "dumb",
        "LANG": "C.UTF-8",
        "VTPMD_ADMIN_SOCKET": str(where / "s"),
    }


def completed(shell: Terminal, keys: str) -> str:
    """The arguments with which vtpmctl is called after these keys, TAB and Enter."""
    shell.type(f"vtpmctl {keys}\t\r")
    before = shell.wait_for(RUN)
    assert "vtpmctl:" not in before, "an error is shown"
    return shell.wait_for("\r\n").rstrip()


@pytest.mark.parametrize(
    ("keys", "called"),
    [
        ("accept-r", "accept-rollback"),
        ("provider rot", "provider rotate"),
        ("create --inc", "create --incoming"),
        ("libvirt-xml --model ti", "libvirt-xml --model tis"),
        ("backup a bund", "backup a bundle.file"),
    ],
)
def test_verbs_options_choices_and_files(
    shell: Terminal, tmp_path: Path, keys: str, called: str
) -> None:
    (tmp_path / "bundle.file").touch()
    assert completed(shell, keys) == called


@pytest.mark.parametrize(
    ("keys", "content", "called"),
    [
        ("info d", INSTANCES, "info db1"),
        ("start db1 we", INSTANCES, "start db1 web-"),  # as far as both names go
        ("provider rotate hs", PROVIDERS, "provider rotate hsm-two"),
        ("create --provider hs", PROVIDERS, "create --provider hsm-two"),
    ],
)
def test_names_that_the_daemon_knows(
    shell: Terminal, tmp_path: Path, keys: str, content: object, called: str
) -> None:
    with scripted(tmp_path / "s", [document(200, content)]):
        assert completed(shell, keys) == called


def test_without_a_daemon_nothing_is_offered_and_nothing_said(shell: Terminal) -> None:
    assert completed(shell, "info d") == "info d"


def test_fish(tmp_path: Path) -> None:
    if shutil.which("fish") is None:
        pytest.skip("fish is not installed")
    setup = "vtpmctl completion fish | source"

    def offered(line: str) -> list[str]:
        said = subprocess.run(
            [
                "fish",
                "--no-config",
                "-c",
                f'{setup}; complete -C "{line}"',
            ],
            env=_environment(tmp_path),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
            timeout=DEADLINE,
        )
        assert said.stderr == ""
        return said.stdout.splitlines()

    (tmp_path / "bundle.file").touch()
    assert offered("vtpmctl accept-r")[0].startswith("accept-rollback")
    assert offered("vtpmctl backup a bund") == ["bundle.file"]
    assert offered("vtpmctl info d") == []
    with scripted(tmp_path / "s", [document(200, INSTANCES)]):
        assert offered("vtpmctl info we") == ["web-1\trunning", "web-2\trunning"]


def ask(where: Path, words: str, known: Sequence[bytes]) -> str:
    """What bash is told for a command line whose last word is to be completed."""
    environment = {
        "_VTPMCTL_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
        "VTPMD_ADMIN_SOCKET": str(where / "s"),
    }
    with ExitStack() as stack:
        if known:
            stack.enter_context(scripted(where / "s", known))
        return CliRunner().invoke(main, env=environment, prog_name="vtpmctl").output


def test_names_that_a_terminal_would_obey_are_not_offered(tmp_path: Path) -> None:
    assert ask(tmp_path, "vtpmctl info ", [document(200, INSTANCES)]).split() == [
        "plain,db1",
        "plain,web-1",
        "plain,web-2",
    ]


@pytest.mark.parametrize("content", [b"", b"HTTP/1.1 500 x\r\n\r\n", document(403, {})])
def test_a_daemon_that_is_no_help_is_no_error(tmp_path: Path, content: bytes) -> None:
    assert ask(tmp_path, "vtpmctl info ", [content]).strip() == ""


def test_snapshots_are_those_of_the_instance(tmp_path: Path) -> None:
    listed = answer(schema.SnapshotList)
    listed["snapshots"] = [listed["snapshots"][0] | {"name": "before-upgrade"}]
    said = ask(tmp_path, "vtpmctl snapshot restore web1 bef", [document(200, listed)])
    assert said.split() == ["plain,before-upgrade"]


@pytest.mark.parametrize("shell", SHELLS)
def test_what_is_printed_names_no_place(shell: str) -> None:
    script = CliRunner().invoke(main, ["completion", shell]).output
    assert "vtpmctl" in script
    assert "/usr" not in script

"""Every command in the documentation does what its page says."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.docs.host import REPOSITORY, Host
from tests.docs.page import Command, Fence, commands, fences
from tests.docs.prepared import LEFT_OUT, PIP, PROGRAMS, Preparation, prepared
from tests.peers.vtpmd import identity
from tests.users import as_root

PAGES = [
    path
    for path in (REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md")))
    if any(fence.runs for fence in fences(path))
]
CONFIGURATION = "/etc/vtpmd/vtpmd.yaml"
SECOND_HOST = "other"
TOOLS = "tpm2_"
FLUSH = "tpm2_flushcontext --transient-object"
"""What the resource manager of a guest's kernel does between two commands."""
pytestmark = pytest.mark.slow


@contextmanager
def short_directory() -> Iterator[Path]:
    """With a short path, and room for every user on it."""
    path = Path(tempfile.mkdtemp(prefix="vtpm."))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path)


class Reader:
    """Somebody who does what a page says, from the top to the bottom."""

    def __init__(self, page: Path, preparation: Preparation, directory: Path) -> None:
        self._page, self._preparation, self._directory = page, preparation, directory
        self._hosts: dict[bool, Host] = {}
        self._work = directory / "work"
        (self._work / "scripts").mkdir(parents=True)
        programs = {name: "exit 0" for name in LEFT_OUT if "/" not in name}
        self._programs = programs | PROGRAMS | preparation.programs
        for name in LEFT_OUT.keys() - programs.keys():
            (self._work / name).write_text("#!/bin/sh\n")
            (self._work / name).chmod(0o755)

    def host(self, second: bool = False) -> Host:
        """The host, or the other one, which is prepared when a page first comes to it."""
        if second not in self._hosts:
            directory = self._directory / ("b" if second else "a")
            directory.mkdir()
            environment = self._preparation.environment
            host = Host(directory, self._work, self._programs, environment)
            self._hosts[second] = host
            for text in self._preparation.other if second else self._preparation.commands:
                status, said = host.run(text)
                assert status == 0, f"the preparation {text!r}:\n{said}"
        return self._hosts[second]

    def follow(self, fence: Fence) -> None:
        """Type its commands, or write its file."""
        words = fence.argument.split()
        host = self.host(SECOND_HOST in words)
        if fence.runs:
            for command in commands(fence):
                self._type(host, command)
        elif words:
            self._write(host, Path(words[-1]), self._here(fence.text))

    def _type(self, host: Host, command: Command) -> None:
        status, said = host.run(self._here(command.text))
        if command.text.startswith(TOOLS):
            host.run(FLUSH)
        said = self._there(said)
        where = f"{self._page.relative_to(REPOSITORY)}:{command.line}: {command.text}"
        assert status in command.statuses, f"{where}\nended with {status}:\n{said}"
        assert command.prints(said), f"{where}\nprinted\n{said}"

    def _write(self, host: Host, file: Path, content: str) -> None:
        part = self._directory / "part"
        part.write_text(content)
        if str(file) == CONFIGURATION:
            merge = f"PYTHONPATH={REPOSITORY} {sys.executable} -m tests.docs.merge"
            status, said = host.run(f"{merge} {file} {part}")
        else:
            status, said = host.run(f"install -D -m 0600 {part} {file}")
        assert status == 0, said

    def _here(self, text: str) -> str:
        for word, real in (self._preparation.replaced | PIP).items():
            text = text.replace(word, real)
        return text

    def _there(self, text: str) -> str:
        for word, real in self._preparation.replaced.items():
            text = text.replace(real, word)
        return text

    def close(self) -> None:
        for host in self._hosts.values():
            host.close()


@as_root
@pytest.mark.skipif(identity() is None, reason="another user may not read vtpmd here")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_page(page: Path) -> None:
    with ExitStack() as stack:
        directory = stack.enter_context(short_directory())
        preparation = prepared(page, directory, stack)
        if absent := preparation.absent():
            pytest.skip(f"not installed: {', '.join(absent)}")
        reader = Reader(page, preparation, directory)
        stack.callback(reader.close)
        for fence in fences(page):
            reader.follow(fence)

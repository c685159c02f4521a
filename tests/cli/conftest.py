"""Fixtures of the supervisor's tests, and vtpmctl in this process with a scripted daemon."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.api.scripted import Asked, http, scripted
from tests.cli.calls import TEMPLATE, octets
from tests.supervisor.conftest import daemon, root
from vtpmd.cli.vtpmctl import main

__all__ = ["daemon", "root"]

Ctl = Callable[..., tuple[Result, list[Asked]]]


@pytest.fixture
def ctl(tmp_path: Path) -> Iterator[Ctl]:
    """Run vtpmctl: its arguments, and the content of the daemon's answers.

    A request that a scripted daemon does not await fails, as no answer comes.
    """
    for name, content in (("BUNDLE", b"bundle"), ("TEMPLATE", octets(TEMPLATE))):
        (tmp_path / name).write_bytes(content)
    opened: list[int] = []

    def passphrase() -> str:
        reader, writer = os.pipe()
        os.write(writer, b"passphrase")
        os.close(writer)
        opened.append(reader)
        return str(reader)

    def run(
        arguments: Sequence[str],
        answers: Sequence[Any] = (),
        status: int = 200,
        statuses: Sequence[int] = (),
        **files: Path,
    ) -> tuple[Result, list[Asked]]:
        codes = statuses or [status] * len(answers)
        paths = {name: str(tmp_path / name) for name in ("OUT", "BUNDLE", "TEMPLATE")}
        paths |= {name: str(path) for name, path in files.items()}
        words = [passphrase() if word == "FD" else paths.get(word, word) for word in arguments]
        path = tmp_path / "s"
        for stale in (path, tmp_path / "OUT"):
            stale.unlink(missing_ok=True)
        with scripted(
            path, [http(*each) for each in zip(codes, map(octets, answers), strict=True)]
        ) as asked:
            result = CliRunner().invoke(main, ["--socket", str(path), *words])
        assert result.exception is None or isinstance(result.exception, SystemExit), words
        return result, asked

    yield run
    for fd in opened:
        os.close(fd)

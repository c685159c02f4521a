"""vtpmctl logs: what the daemon's log says of one TPM."""

import contextlib
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NoReturn

import click

from vtpmd.api import names

from ..completion import INSTANCE
from ..output import json_option, say

_JOURNAL = ("journalctl", "--unit", "vtpmd", "--output", "cat", "--no-pager")


@click.command
@click.argument("name", metavar="NAME|UUID", type=INSTANCE)
@click.option("-f", "--follow", is_flag=True, help="Go on with what is logged, until Ctrl-C.")
@click.option(
    "--file",
    type=click.Path(path_type=Path),
    help="Read this file instead of the journal of the unit vtpmd; - is standard input.",
)
@json_option
def command(name: str, follow: bool, file: Path | None, as_json: bool) -> None:
    """Print the lines of the daemon's log about one instance.

    The log has to be in JSON, as it is by default (log.format). With --json what is no JSON in a
    line, such as a prefix, is left out.
    """
    if file is not None and follow:
        raise click.UsageError("--follow is for the journal: use tail -f FILE | vtpmctl logs …")
    found = False
    with _lines(file, follow) as lines:
        for line in lines:
            document = _document(line)
            if name not in [document.get(field) for field in ("instance", "uuid", "subject")]:
                continue
            found = True
            if as_json:
                click.echo(json.dumps(document))
            else:
                say(line.rstrip("\n"))
    if not found:
        say(
            f"vtpmctl: no line in {file or 'the journal of the unit vtpmd'} is about {name}",
            err=True,
        )


def _document(line: str) -> dict[str, object]:
    """The JSON object in a line, empty if there is none."""
    try:
        document = json.loads(line[line.index("{") :])
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


@contextlib.contextmanager
def _lines(file: Path | None, follow: bool) -> Iterator[Iterable[str]]:
    if file is not None and str(file) == "-":
        yield sys.stdin
        return
    if file is not None:
        try:
            opened = file.open(errors="replace")
        except OSError as error:
            _fail(f"{file}: {error.strerror}")
        with opened:
            yield opened
        return
    import subprocess  # takes a while to load, and no other verb needs it

    words = [*_JOURNAL, *(("--follow", "--lines", "all") if follow else ())]
    try:
        journal = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, errors="replace")
    except OSError as error:
        _fail(f"journalctl: {error.strerror}; name a file with --file")
    with journal:
        assert journal.stdout is not None
        yield journal.stdout
        if journal.wait():
            sys.exit(names.EXIT_FILE)


def _fail(reason: str) -> NoReturn:
    say(f"vtpmctl: {reason}", err=True)
    sys.exit(names.EXIT_FILE)

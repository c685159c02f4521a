"""What a shell offers when somebody asks it to complete a word: names that the daemon knows.

A daemon that cannot be asked, or takes longer than a person waits, knows none: no error is shown.
"""

import signal
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Final

import click
from click.shell_completion import CompletionItem

from vtpmd.api.errors import ClientError
from vtpmd.api.text import printable
from vtpmd.client import Client

PATIENCE: Final = 2.0
"""Seconds that the daemon has for an answer."""

Names = Callable[[Client, click.Context], Iterable[tuple[str, str]]]


class Known(click.types.StringParamType):
    """A text of which the daemon knows values: each with what it is, for shells that show that."""

    def __init__(self, name: str, known: Names) -> None:
        self.name = name
        self._known = known

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        try:
            found = _soon(lambda: list(self._known(_client(ctx), ctx)))
        except ClientError:
            return []
        return [
            CompletionItem(name, help=what or None)
            for name, what in found
            if name.startswith(incomplete) and printable(name) == name
        ]


def _client(ctx: click.Context) -> Client:
    """The daemon that is meant: `main` is not called when something is completed."""
    return Client(ctx.find_root().params["socket"])


def _soon(ask: Callable[[], list[tuple[str, str]]]) -> list[tuple[str, str]]:
    def give_up(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        return ask()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _instances(daemon: Client, _: click.Context) -> Iterable[tuple[str, str]]:
    return ((each.name, each.state) for each in daemon.list().instances)


def _providers(daemon: Client, _: click.Context) -> Iterable[tuple[str, str]]:
    return ((each.name, each.type) for each in daemon.providers().providers)


def _snapshots(daemon: Client, ctx: click.Context) -> Iterable[tuple[str, str]]:
    """Those of the instance that the command line names before."""
    return ((each.name, "") for each in daemon.snapshots(ctx.params["name"]).snapshots)


INSTANCE: Final = Known("text", _instances)
PROVIDER: Final = Known("text", _providers)
SNAPSHOT: Final = Known("text", _snapshots)

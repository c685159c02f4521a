"""vtpmctl rekey: protect instances by other keys."""

import sys
from datetime import UTC, datetime
from functools import partial
from typing import Any

import click

from vtpmd.api.codec import time_text
from vtpmd.api.names import EXIT_INTERRUPTED
from vtpmd.api.schema import RekeyRequest, RekeyResult

from ..completion import PROVIDER
from ..output import client, held_by, json_option, say, some_names_argument
from ..several import each, one_or_each


class Moment(click.ParamType[datetime]):
    """A time with its zone, as ISO 8601 writes it."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            self.fail(f"{value!r} is no time with a zone, such as 2026-01-31T12:00:00Z", param)
        return moment


@click.command
@some_names_argument
@click.option("--all", "everything", is_flag=True, help="Every instance.")
@click.option("--provider", type=PROVIDER, help="Every instance whose key this key provider holds.")
@click.option("--deep", is_flag=True, help="Also encrypt the state under a new key.")
@click.option(
    "--to-provider", type=PROVIDER, metavar="PROVIDER", help="Move the key to this key provider."
)
@click.option(
    "--since",
    type=Moment(),
    help="Skip what was rekeyed since then (ISO 8601), to continue an interrupted rekey.",
)
@json_option
def command(
    names: tuple[str, ...],
    everything: bool,
    provider: str | None,
    deep: bool,
    to_provider: str | None,
    since: datetime | None,
    as_json: bool,
) -> None:
    """Wrap an instance's key again, under its key provider's current key; it may be running.

    An instance that is under the current key already is skipped unless --deep is given, so the
    same command continues an interrupted one. The state always opens with the old or the new key.
    """
    if [bool(names), everything, provider is not None].count(True) != 1:
        raise click.UsageError("Give names of instances, or --all, or --provider.")
    begun = datetime.now(UTC).replace(microsecond=0)
    request = RekeyRequest(deep=deep, provider=to_provider, since=since)
    ask, json_name = partial(client().rekey, request=request), "rekeyed" if as_json else None
    try:
        if names:
            one_or_each(names, ask, _line, json_name)
            return
        every = client().list().instances
        chosen = [info for info in every if provider in (None, info.provider)]
        each(chosen, ask, _line, json_name)
    except KeyboardInterrupt:
        again = f" with --since {time_text(since or begun)}" if deep else ""
        say(f"vtpmctl: interrupted; the same command{again} goes on from here", err=True)
        sys.exit(EXIT_INTERRUPTED)


def _line(result: RekeyResult) -> str:
    under = "now under" if result.changed else "already under"
    return f"{result.name}: {under} {held_by(result.keys)}"

"""vtpmctl rekey: protect instances by other keys."""

import sys
from datetime import UTC, datetime
from functools import partial
from typing import Any

import click

from vtpmd.api import names
from vtpmd.api.codec import time_text
from vtpmd.api.schema import RekeyRequest, RekeyResult

from ..completion import INSTANCE, PROVIDER
from ..output import client, held_by, json_option, say, show_json
from ..several import each


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
@click.argument("name", metavar="NAME|UUID", type=INSTANCE, required=False)
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
    name: str | None,
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
    if [name is not None, everything, provider is not None].count(True) != 1:
        raise click.UsageError("Give the name of an instance, or --all, or --provider.")
    begun = datetime.now(UTC).replace(microsecond=0)
    request = RekeyRequest(deep=deep, provider=to_provider, since=since)
    if name is not None:
        result = client().rekey(name, request)
        if as_json:
            show_json(result.document)
        else:
            say(_line(result))
        return
    every = client().list().instances
    instances = [info for info in every if provider in (None, info.provider)]
    ask = partial(client().rekey, request=request)
    try:
        each(instances, ask, _line, "rekeyed" if as_json else None)
    except KeyboardInterrupt:
        again = f" with --since {time_text(since or begun)}" if deep else ""
        say(f"vtpmctl: interrupted; the same command{again} goes on from here", err=True)
        sys.exit(names.EXIT_INTERRUPTED)


def _line(result: RekeyResult) -> str:
    under = "now under" if result.changed else "already under"
    return f"{result.name}: {under} {held_by(result.keys)}"

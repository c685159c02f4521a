"""vtpmctl top: which TPMs are used, and how fast they are."""

import time

import click

from vtpmd.api.schema import InstanceUsage, UsageList

from ..output import client, json_option, show_json, show_table
from ..refreshing import again_and_again, interval_option, times_option

_HEADINGS = ("NAME", "STATE", "COMMANDS/S", "MEAN MS", "BUSY %", "REFUSED/S", "STORED/S", "MEMORY")
_MIB = 1 << 20


@click.command
@interval_option
@times_option
@click.option("--idle", is_flag=True, help="Also those that nobody has used meanwhile.")
@json_option
def command(interval: float, times: int | None, idle: bool, as_json: bool) -> None:
    """Show which TPMs are used, refreshed until Ctrl-C.

    Rates are of the last interval; what a worker says of itself may be older than that by one.
    """
    daemon = client()
    before = daemon.top()
    time.sleep(interval)

    def show() -> None:
        nonlocal before
        now = daemon.top()
        if as_json:
            show_json(now.document)
        else:
            show_table(_HEADINGS, _rows(before, now, idle), whole={"NAME"})
        before = now

    again_and_again(show, interval, times)


def _rows(before: UsageList, now: UsageList, idle: bool) -> list[tuple[str, ...]]:
    seconds = max(0.001, (now.clock - before.clock) / 1000)
    earlier = {usage.uuid: usage for usage in before.instances}
    rates = [(usage, _since(usage, earlier.get(usage.uuid))) for usage in now.instances]
    rates.sort(key=lambda each: (-each[1][0], each[0].name))
    rows: list[tuple[str, ...]] = []
    for usage, (commands, refused, busy, stored) in rates:
        if not commands and not idle:
            continue
        rows.append(
            (
                usage.name,
                "asleep" if usage.asleep else usage.state,
                f"{commands / seconds:.1f}",
                f"{busy / commands / 1000:.2f}" if commands else "-",
                f"{busy / seconds / 10_000:.1f}",
                f"{refused / seconds:.1f}",
                f"{stored / seconds:.1f}",
                f"{usage.memory / _MIB:.1f} MiB",
            )
        )
    return rows


def _since(usage: InstanceUsage, earlier: InstanceUsage | None) -> tuple[int, int, int, int]:
    """Commands, refused ones, microseconds and stored states since then; one that is new, none."""
    if earlier is None or earlier.commands > usage.commands:
        return 0, 0, 0, 0
    return (
        usage.commands - earlier.commands,
        usage.refused - earlier.refused,
        usage.busy - earlier.busy,
        usage.stored - earlier.stored,
    )

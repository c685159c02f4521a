"""vtpmctl snapshot: keep the state of a TPM as of a moment, and turn it back to that."""

import click

from vtpmd.api.codec import time_text
from vtpmd.api.schema import (
    SnapshotDeleteRequest,
    SnapshotInfo,
    SnapshotRequest,
    SnapshotRestoreRequest,
)

from ..completion import SNAPSHOT
from ..output import client, json_option, name_argument, say, show_json, show_table

snapshot_argument = click.argument("snapshot", type=SNAPSHOT)


@click.group
def command() -> None:
    """Keep states of a TPM, beside snapshots of disks that QEMU does not make."""


@command.command
@name_argument
@click.argument("snapshot", type=SNAPSHOT, required=False)
@json_option
def create(name: str, snapshot: str | None, as_json: bool) -> None:
    """Keep the state of an instance as of now, called SNAPSHOT (or the time).

    The instance may be running: what is kept is what a power cut would leave between two commands.
    """
    made = client().snapshot(name, SnapshotRequest(label=snapshot))
    if as_json:
        show_json(made.document)
    else:
        say(f"{made.name}: generation {made.generation}, epoch {made.epoch}")


@command.command("list")
@name_argument
@json_option
def show(name: str, as_json: bool) -> None:
    """List the snapshots of an instance."""
    found = client().snapshots(name)
    if as_json:
        show_json(found.document)
    else:
        heads = ("SNAPSHOT", "CREATED", "GENERATION", "EPOCH", "OCTETS", "")
        show_table(heads, map(_row, found.snapshots))


def _row(each: SnapshotInfo) -> tuple[str, ...]:
    created = "" if each.created is None else time_text(each.created)
    counts = (str(count) for count in (each.generation, each.epoch, each.size))
    return (each.name, created, *counts, each.reason)


@command.command
@name_argument
@snapshot_argument
@click.option("--yes", is_flag=True, help="What was stored since may be lost.")
@click.option("--start/--no-start", default=False, help="Serve it at once, or not (the default).")
@json_option
def restore(name: str, snapshot: str, yes: bool, start: bool, as_json: bool) -> None:
    """Turn an instance that is stopped back to SNAPSHOT.

    Its machine boots cold, and what it has stored in its TPM since is lost to it. Without --yes
    nothing is done, and what would be is told.
    """
    request = SnapshotRestoreRequest(snapshot=snapshot, confirmed=yes, start=start)
    info = client().restore_snapshot(name, request)
    if as_json:
        show_json(info.document)
    else:
        say(f"{info.name} is as it was in {snapshot}; it is {info.state}: {info.reason}")


@command.command
@name_argument
@snapshot_argument
@json_option
def delete(name: str, snapshot: str, as_json: bool) -> None:
    """Remove SNAPSHOT for good."""
    client().delete_snapshot(name, SnapshotDeleteRequest(snapshot=snapshot))
    if as_json:
        show_json({"deleted": snapshot})
    else:
        say(f"{snapshot} is deleted")

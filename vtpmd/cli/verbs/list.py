"""vtpmctl list: all instances, or those that are looked for."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import click

from vtpmd.api import names
from vtpmd.api.codec import time_text
from vtpmd.api.schema import InstanceInfo

from ..completion import PROVIDER
from ..output import client, json_option, show_json, show_table
from ..refreshing import again_and_again, interval_option, times_option

ASLEEP: Final = "asleep"


def _word(info: InstanceInfo) -> str:
    return ASLEEP if info.asleep else info.state


def _state(info: InstanceInfo) -> str:
    words = [_word(info)]
    return ", ".join(words if info.handover in ("", names.OURS) else [*words, info.handover])


def _reason(info: InstanceInfo) -> str:
    others = info.shares_identity_with
    return info.reason + (f"; same secrets as {', '.join(others)}" if others else "")


COLUMNS: Final[Mapping[str, Callable[[InstanceInfo], str]]] = {
    "name": lambda info: info.name,
    "uuid": lambda info: str(info.uuid),
    "state": _state,
    "reason": _reason,
    "since": lambda info: time_text(info.since),
    "created": lambda info: time_text(info.created),
    "provider": lambda info: info.provider,
    "profile": lambda info: info.profile,
    "pcr-banks": lambda info: ",".join(info.pcr_banks),
    "handover": lambda info: info.handover,
    "labels": lambda info: ",".join(f"{key}={value}" for key, value in sorted(info.labels.items())),
    "autostart": lambda info: "yes" if info.autostart else "no",
    "control-socket": lambda info: info.control_socket,
    "data-socket": lambda info: info.data_socket or "",
}
_USUAL: Final = ("name", "uuid", "state", "reason")
_WHOLE: Final = frozenset({"name", "uuid"})
"""What other commands are given, so that it is never cut."""


def _columns(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...]:
    if value is None:
        return _USUAL
    wanted = tuple(value.split(","))
    if unknown := [name for name in wanted if name not in COLUMNS]:
        raise click.BadParameter(f"there is no {unknown[0]!r}; known are {', '.join(COLUMNS)}")
    return wanted


def _labels(
    _: click.Context, __: click.Parameter, words: tuple[str, ...]
) -> tuple[tuple[str, str | None], ...]:
    """Names of labels, each with the value that is looked for or None for any."""
    pairs = [word.partition("=") for word in words]
    if any(not name for name, _, _ in pairs):
        raise click.BadParameter("a label is NAME=VALUE, or NAME for any value")
    return tuple((name, value if equals else None) for name, equals, value in pairs)


@click.command
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice((*names.STATES, ASLEEP)),
    help="Only those in this state; may be repeated.",
)
@click.option(
    "--provider", type=PROVIDER, metavar="NAME", help="Only those whose key this key provider has."
)
@click.option(
    "--label",
    "labels",
    metavar="NAME[=VALUE]",
    multiple=True,
    callback=_labels,
    help="Only those with this label; may be repeated, and all are demanded.",
)
@click.option(
    "-o",
    "--columns",
    metavar="NAME,…",
    callback=_columns,
    help=f"What to show: {', '.join(COLUMNS)}.",
)
@click.option(
    "--sort", type=click.Choice(tuple(COLUMNS)), default="name", help="By what to sort them."
)
@click.option("--watch", is_flag=True, help="Show it again and again.")
@interval_option
@times_option
@json_option
def command(
    states: tuple[str, ...],
    provider: str | None,
    labels: tuple[tuple[str, str | None], ...],
    columns: tuple[str, ...],
    sort: str,
    watch: bool,
    interval: float,
    times: int | None,
    as_json: bool,
) -> None:
    """List all instances, or those that are looked for."""

    def wanted(info: InstanceInfo) -> bool:
        here = not states or info.state in states or _word(info) in states
        labelled = all(
            name in info.labels and value in (None, info.labels[name]) for name, value in labels
        )
        return here and labelled and provider in (None, info.provider)

    show = partial(_show, wanted, columns, COLUMNS[sort], as_json)
    if watch:
        again_and_again(show, interval, times)
    else:
        show()


def _show(
    wanted: Callable[[InstanceInfo], bool],
    columns: tuple[str, ...],
    order: Callable[[InstanceInfo], str],
    as_json: bool,
) -> None:
    answer = client().list()
    found = sorted(filter(wanted, answer.instances), key=order)
    if as_json:
        show_json(answer.document | {"instances": [info.document for info in found]})
        return
    show_table(
        [name.upper() for name in columns],
        [[COLUMNS[name](info) for name in columns] for info in found],
        whole={name.upper() for name in _WHOLE},
    )

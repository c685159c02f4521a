"""vtpmctl set: change settings of an instance."""

from functools import partial

import click

from vtpmd.api.schema import SetRequest

from ..access import mode_option, owner_option
from ..output import client, json_option, names_argument, show_instance, state_line
from ..several import each_named


def _labels(_: click.Context, __: click.Parameter, words: tuple[str, ...]) -> dict[str, str]:
    pairs = [word.partition("=") for word in words]
    for name, equals, _value in pairs:
        if not (name and equals):
            raise click.BadParameter("a label is NAME=VALUE, and NAME= removes it")
    return {name: value for name, _, value in pairs}


@click.command("set")
@names_argument
@owner_option
@mode_option
@click.option(
    "--autostart/--no-autostart", default=None, help="Serve it when the daemon starts, or not."
)
@click.option(
    "--data-socket/--no-data-socket",
    default=None,
    help="Also a data socket for tools such as tpm2-tools, or none; it must not be running.",
)
@click.option(
    "--label",
    "labels",
    metavar="NAME=VALUE",
    multiple=True,
    callback=_labels,
    help="A label to find it by, such as tier=web; NAME= removes one. May be given several times.",
)
@json_option
def command(
    names: tuple[str, ...],
    owner: str | None,
    mode: str | None,
    autostart: bool | None,
    data_socket: bool | None,
    labels: dict[str, str],
    as_json: bool,
) -> None:
    """Change settings of instances at once, most of them also while they run.

    Who is connected stays connected: shut the machine down first to part it from its TPM.
    """
    if (owner, mode, autostart, data_socket) == (None,) * 4 and not labels:
        raise click.UsageError(
            "Give what to set: --owner or --mode, --label, --autostart, --data-socket."
        )
    request = SetRequest(
        owner=owner,
        mode=mode,
        autostart=autostart,
        data_socket=data_socket,
        labels=labels or None,
    )
    if len(names) == 1:
        show_instance(client().set(names[0], request), as_json)
    else:
        ask = partial(client().set, request=request)
        each_named(names, ask, state_line, "instances" if as_json else None)

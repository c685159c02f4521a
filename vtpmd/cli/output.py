"""What vtpmctl prints: JSON on request, otherwise tidy text; and one way to fail."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from vtpmd.api import names
from vtpmd.api.client import Client, Failure

from . import files

Command = TypeVar("Command", bound=Callable[..., Any])

HINTS = {
    "forbidden": "Run vtpmctl as root, or configure admin.group, join that group and log in again.",
    "not-found": "`vtpmctl list` shows every instance.",
    "no-such-provider": "`vtpmctl provider list` shows every key provider.",
    "exists": "Nothing was changed. `vtpmctl info` shows the instance.",
    "running": "`vtpmctl stop` it first, after shutting its virtual machine down.",
    "not-running": "`vtpmctl start` it first.",
    "key-unavailable": (
        "The state file is untouched. `vtpmctl capabilities` shows the key providers; "
        "`vtpmctl unlock` tries again at once."
    ),
    "unconfirmed": "Nothing was done. Add --yes if that is what you want.",
    "bundle-refused": "Nothing was changed.",
    "state-refused": "The state file is untouched. `vtpmctl info` shows the reason.",
}

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
name_argument = click.argument("name", metavar="NAME|UUID")


def client() -> Client:
    """The daemon that --socket names."""
    found = click.get_current_context().find_object(Client)
    assert found is not None
    return found


def call(route: names.Route, name: str = "", content: object = None) -> Any:
    """The daemon's answer; otherwise print what went wrong and end with its exit status."""
    try:
        return client().call(route, name, content)
    except Failure as failure:
        fail(failure)


def fail(failure: Failure) -> NoReturn:
    """Tell the problem (as JSON where JSON was asked for), what to do about it, and end."""
    if click.get_current_context().params.get("as_json"):
        click.echo(json.dumps(failure.document, indent=2))
    else:
        click.echo(f"vtpmctl: {failure.detail}", err=True)
        if hint := HINTS.get(failure.document.get("code", "")):
            click.echo(f"  {hint}", err=True)
    sys.exit(failure.exit_status)


def show_json(content: object) -> None:
    """Print `content` for programs."""
    click.echo(json.dumps(content, indent=2))


def show_instance(info: dict[str, Any], as_json: bool) -> None:
    """Print an instance with everything about it."""
    if as_json:
        show_json(info)
    else:
        show_fields(instance_fields(info))


def show_state(info: dict[str, Any], as_json: bool) -> None:
    """Print in which state an instance is, as one line or with everything for programs."""
    if as_json:
        show_json(info)
    else:
        click.echo(state_line(info))


def show_saved(file: Path, about: dict[str, Any], line: str, as_json: bool) -> None:
    """Print that `file` is written, and `about` it for programs; nothing if it is the output."""
    if files.is_standard(file):
        return
    if as_json:
        show_json({"file": str(file), **about})
    else:
        click.echo(line)


def state_line(info: dict[str, Any]) -> str:
    """The state of an instance and why."""
    return f"{info['name']} is {info['state']}: {info['reason']}"


def show_fields(fields: Sequence[tuple[str, str]]) -> None:
    """Print a name and a value on each line, the values aligned."""
    width = max(len(name) for name, _ in fields) + 1
    for name, value in fields:
        click.echo(f"{name + ':':<{width}}  {value}")


def show_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: drawn on a terminal, plain columns into a pipe."""
    if sys.stdout.isatty():
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(*headings, box=box.SIMPLE_HEAD)
        for row in rows:
            table.add_row(*map(Text, row))
        Console().print(table)
        return
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    for row in (headings, *rows):
        line = "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        click.echo(line.rstrip())


def instance_fields(info: dict[str, Any]) -> list[tuple[str, str]]:
    """An instance as people read it."""
    fields = [
        ("name", info["name"]),
        ("uuid", info["uuid"]),
        ("state", f"{info['state']} ({info['reason']})"),
        ("since", info["since"]),
        ("created", info["created"]),
        ("served at daemon start", "yes" if info["autostart"] else "no"),
        ("key provider", info["provider"]),
        ("profile", info["profile"]),
        ("PCR banks", ", ".join(info["pcr_banks"])),
        ("control socket", info["control_socket"]),
        ("data socket", info["data_socket"] or "none"),
        ("disk encryption", "not managed"),
    ]
    if twins := info["shares_identity_with"]:
        fields.append(("same secrets as", ", ".join(twins)))
    for key in info["keys"]:
        where = f"{key['provider']}, {key['key_ref']} {key['key_version']}".rstrip()
        fields.append((f"{key['purpose']} key", f"{where} (since {key['created']})"))
    if worker := info["worker"]:
        sandbox = ", ".join(f"{part} {how}" for part, how in sorted(worker["sandbox"].items()))
        fields += [
            ("TPM", worker["tpm"]),
            ("worker", f"process {worker['pid']}, {worker['clients']} client(s)"),
            ("commands answered", str(worker["commands"])),
            ("state generation", str(worker["generation"])),
            ("storage", worker["storage"]),
            ("sandbox", sandbox or "off"),
        ]
    return fields

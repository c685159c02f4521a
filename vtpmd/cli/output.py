"""What vtpmctl prints: JSON on request, otherwise plain text that no terminal obeys."""

import json
import re
import sys
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from pathlib import Path

import click

from vtpmd.api import names, problems
from vtpmd.api.codec import time_text
from vtpmd.api.errors import ClientError
from vtpmd.api.schema import InstanceInfo, KeySlot, Progress, ProviderInfo, SocketAccess, WorkerInfo
from vtpmd.api.text import printable
from vtpmd.client import Client, Tell

from . import files
from .completion import INSTANCE

HINTS = {
    "unreachable": (
        "Is the daemon running (systemctl status vtpmd)? Another socket can be given with "
        "--socket or VTPMD_ADMIN_SOCKET."
    ),
    "forbidden": "Run vtpmctl as root, or configure admin.group, join that group and log in again.",
    "not-found": "`vtpmctl list` shows every instance.",
    "no-such-certificate": "`vtpmctl ca list` shows every certificate that was given out.",
    "no-such-provider": "`vtpmctl provider list` shows every key provider.",
    "exists": "Nothing was changed. `vtpmctl info` shows the instance.",
    "running": "`vtpmctl stop` it first, after shutting its virtual machine down.",
    "in-use": "Shut its virtual machine down first, or add --force to take its TPM away.",
    "not-running": "`vtpmctl start` it first.",
    "handed-over": "`vtpmctl info` shows whose it is.",
    "still-to-come": "`vtpmctl info` shows what is waited for.",
    "key-unavailable": (
        "The stored state is untouched. `vtpmctl provider list` shows the key providers; "
        "`vtpmctl unlock` tries again at once."
    ),
    "unconfirmed": "Nothing was done. Add --yes if that is what you want.",
    "untrusted": (
        "Nothing was done. `vtpmctl ek renew --trust-now` believes what its worker says now, as "
        "does `vtpmctl ek csr --trust-now`, which comes before `ek import`."
    ),
    "bundle-refused": "Nothing was changed.",
    "certificates-refused": "Nothing was changed.",
    "state-refused": "The state file is untouched. `vtpmctl info` shows the reason.",
}
MAKING_HINTS = {
    "key-unavailable": "Nothing was made. `vtpmctl provider list` shows the key providers.",
    "unavailable": "Nothing was made. `vtpmctl doctor` shows what is missing here.",
}
"""For verbs that make an instance, of which there is no state yet."""
MAKING = frozenset({"create", "clone", "import", "restore"})
HAND_OVERS = {
    names.OURS: "ours",
    names.LENT: (
        "lent: its state was read for a snapshot, a saved machine or a migration; it goes on here "
        "with its machine, unless another host has it"
    ),
    names.AWAY: (
        "away: handed over to another host, so that no machine can use it here; "
        "`vtpmctl take-back` if the other host does not have it"
    ),
}
"""Whose a TPM is, in words."""
_NARROWEST = 20
_PEM = r"(-----(BEGIN|END) [A-Z0-9 ]+-----\n|[A-Za-z0-9+/=]{1,76}\n)+"
_JSON_ASKED = "vtpmd.cli.as_json"


def _note_json(context: click.Context, _: click.Parameter, value: bool) -> bool:
    context.meta[_JSON_ASKED] = value
    return value


json_option = click.option(
    "--json", "as_json", is_flag=True, callback=_note_json, help="Print JSON for programs."
)
name_argument = click.argument("name", metavar="NAME|UUID", type=INSTANCE)
some_names_argument = click.argument("names", metavar="NAME|UUID…", type=INSTANCE, nargs=-1)
names_argument = click.argument(
    "names", metavar="NAME|UUID…", type=INSTANCE, nargs=-1, required=True
)


def client() -> Client:
    """The daemon that --socket names."""
    found = click.get_current_context().find_object(Client)
    assert found is not None
    return found


def demand_printable(*texts: str) -> None:
    """Raise ClientError unless these texts can be printed exactly as they are."""
    if any(printable(text) != text for text in texts):
        detail = "The socket's path has characters that are not printed: use --json."
        raise ClientError(problems.INVALID, detail)


def say(line: str, err: bool = False) -> None:
    """Print one line, on standard error if `err`; whatever is in it stays in this line."""
    click.echo(printable(line), err=err)


def progress(as_json: bool) -> Tell | None:
    """Shows a person at a terminal how far an operation on several instances is."""
    return None if as_json or not sys.stderr.isatty() else _show_progress


def _show_progress(told: Progress) -> None:
    say(f"[{told.done}/{told.all}] {told.name}", err=True)


def say_wrapped(first: str, text: str) -> None:
    """Print a text behind `first`, and further lines below it where a terminal is too narrow."""
    lines = [printable(text)]
    if sys.stdout.isatty():
        import shutil  # which take a moment to load
        import textwrap

        room = max(shutil.get_terminal_size().columns - len(first), _NARROWEST)
        lines = textwrap.wrap(lines[0], room, break_long_words=False, break_on_hyphens=False)
    for number, line in enumerate(lines):
        say((first if number == 0 else " " * len(first)) + line)


def show_pem(*texts: str) -> None:
    """Print texts in PEM as they are; what is none stays in one line each."""
    for text in texts:
        if re.fullmatch(_PEM, text, re.ASCII):
            click.echo(text, nl=False)
        else:
            say(text)


def show_error(error: ClientError) -> None:
    """Print what went wrong, as JSON where JSON was asked for, and what to do about it."""
    if click.get_current_context().meta.get(_JSON_ASKED):
        show_json(error.document)
        return
    say(f"vtpmctl: {error.detail}", err=True)
    show_hint(error)


def show_hint(error: ClientError) -> None:
    """Print what to do about an error, if there is something to say."""
    hints = HINTS
    if click.get_current_context().find_root().invoked_subcommand in MAKING:
        hints = HINTS | MAKING_HINTS
    if hint := hints.get(error.problem.code):
        say(f"  {hint}", err=True)


def show_json(content: object) -> None:
    """Print `content` for programs, in ASCII."""
    click.echo(json.dumps(content, indent=2))


def show_instance(info: InstanceInfo, as_json: bool) -> None:
    """Print an instance with everything about it."""
    if as_json:
        show_json(info.document)
    else:
        show_fields(instance_fields(info))


def show_state(info: InstanceInfo, as_json: bool) -> None:
    """Print in which state an instance is, as one line or with everything for programs."""
    if as_json:
        show_json(info.document)
    else:
        say(state_line(info))


def show_saved(file: Path, about: dict[str, object], line: str, as_json: bool) -> None:
    """Print that `file` is written, and `about` it for programs; nothing if it is the output."""
    if files.is_standard(file):
        return
    if as_json:
        show_json({"file": str(file), **about})
    else:
        say(line)


def state_line(info: InstanceInfo) -> str:
    """The state of an instance and why."""
    return f"{info.name} is {info.state}: {info.reason}"


def hand_over_text(info: InstanceInfo) -> str:
    """Whose the TPM is, and what is waited for."""
    texts = [HAND_OVERS.get(info.handover, info.handover or "not known")]
    if info.worker is not None and info.worker.begun:
        texts.append(f"epoch {info.worker.epoch} began when {info.worker.begun}")
    if info.worker is not None and info.worker.declared:
        texts.append("a migration is declared: away as soon as QEMU has read its state")
    if info.worker is not None and info.worker.pending:
        texts.append("a restored state waits for the first command of its machine")
    return "; ".join(texts)


def hand_over_line(info: InstanceInfo) -> str:
    """The same as one line about the instance."""
    return f"{info.name} is {hand_over_text(info)}"


def show_fields(fields: Sequence[tuple[str, str]]) -> None:
    """Print a name and a value on each line, the values aligned."""
    width = max(len(printable(name)) for name, _ in fields) + 1
    for name, value in fields:
        say(f"{printable(name) + ':':<{width}}  {value}")


def end_text(moment: datetime) -> str:
    """When a certificate ends, for people (RFC 5280, 4.1.2.5: those of the year 9999 don't)."""
    return "never" if moment.year == datetime.max.year else time_text(moment)


def show_table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], whole: Collection[str] = ()
) -> None:
    """Print a table: drawn on a terminal, plain columns into a pipe.

    Cells of the columns that are `whole` are never cut nor broken, however narrow the terminal.
    """
    lines = [tuple(map(printable, row)) for row in rows]
    if sys.stdout.isatty():
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD)
        for heading, *cells in zip(headings, *lines, strict=True):
            width = max(map(len, (heading, *cells))) if heading in whole else None
            table.add_column(heading, min_width=width, no_wrap=heading in whole, overflow="fold")
        for row in lines:
            table.add_row(*map(Text, row))
        Console().print(table)
        return
    widths = [max(map(len, column)) for column in zip(headings, *lines, strict=True)]
    for row in (tuple(headings), *lines):
        line = "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        say(line.rstrip())


def instance_fields(info: InstanceInfo) -> list[tuple[str, str]]:
    """An instance as people read it."""
    fields = [
        ("name", info.name),
        ("uuid", str(info.uuid)),
        ("state", f"{info.state}{', asleep' * info.asleep} ({info.reason})"),
        ("since", time_text(info.since)),
        ("hand-over", hand_over_text(info)),
        ("created", time_text(info.created)),
        ("served at daemon start", "yes" if info.autostart else "no"),
        ("key provider", info.provider),
        ("profile", info.profile),
        ("PCR banks", ", ".join(info.pcr_banks)),
        ("control socket", info.control_socket),
        ("data socket", info.data_socket or "none"),
        ("disk encryption", "not managed"),
        ("certificates", info.certificates),
    ]
    if info.labels:
        shown = ", ".join(f"{name}={value}" for name, value in info.labels.items())
        fields.append(("labels", shown))
    if info.machine:
        shown = f"process {info.machine}" if info.machine > 0 else "a process elsewhere"
        fields.append(("used by", shown))
    if info.rollback:
        fields.append(("rollback", info.rollback))
    if (newest := info.newest) is not None:
        known = f"generation {newest.generation}, epoch {newest.epoch}"
        fields.append(("newest state noted", f"{known}, at {time_text(newest.seen)}"))
    if info.access is not None:
        fields.append(("who may connect", _access_text(info.access)))
    if others := info.shares_identity_with:
        fields.append(("same secrets as", ", ".join(others)))
    fields += map(_key_field, info.keys)
    return fields + (_worker_fields(info.worker) if info.worker else [])


def _access_text(access: SocketAccess) -> str:
    roles = {"user": access.owner, "group": access.group}
    who = [f"{role} {name}" for role, name in roles.items() if name is not None]
    source = "configured" if access.configured else "its own"
    how = "; by an access control list" if access.shared else ""
    return f"{', '.join(who) or 'root and the daemon'} (mode {access.mode}, {source}{how})"


def held_by(keys: Iterable[KeySlot]) -> str:
    """Which key providers hold a key, in a line."""
    return ", ".join(
        f"{key.provider} {key.key_version or key.key_ref} ({key.purpose})" for key in keys
    )


def _key_field(key: KeySlot) -> tuple[str, str]:
    where = f"{key.provider}, {key.key_ref} {key.key_version}".rstrip()
    return f"{key.purpose} key", f"{where} (since {time_text(key.created)})"


def _worker_fields(worker: WorkerInfo) -> list[tuple[str, str]]:
    sandbox = ", ".join(f"{part} {how}" for part, how in sorted(worker.sandbox.items()))
    return [
        ("TPM", worker.tpm),
        ("worker", f"process {worker.pid}{_version_text(worker)}, {worker.clients} client(s)"),
        ("commands answered", str(worker.commands)),
        ("state generation", f"{worker.generation}, epoch {worker.epoch}"),
        ("storage", worker.storage),
        ("failed tries", f"{worker.failed_tries}{', in lockout' if worker.lockout else ''}"),
        ("dropped", f"{worker.dropped_octets} octets, {worker.refused_descriptors} descriptors"),
        ("sandbox", sandbox or "off"),
    ]


def _version_text(worker: WorkerInfo) -> str:
    return f" of vtpmd {worker.version}" if worker.version else ""


def provider_roles(provider: ProviderInfo) -> list[str]:
    """What instances use a key provider for when nothing else is asked for."""
    roles = {"default": provider.default, "recovery": provider.recovery}
    return [role for role, has in roles.items() if has]

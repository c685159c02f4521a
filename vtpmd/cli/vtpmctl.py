"""vtpmctl: the administrator's command line. Verbs are loaded when they are called."""

import errno
import importlib
import os
import sys
from typing import Any, NoReturn, cast

import click

from vtpmd.api import names
from vtpmd.api.errors import ClientError
from vtpmd.client import Client

from .output import say, show_error

# Verb -> module below vtpmd.cli.verbs, which defines a command of the name `command`.
VERBS = {
    "create": "create",
    "list": "list",
    "info": "info",
    "start": "start",
    "stop": "stop",
    "set": "set",
    "rename": "rename",
    "unlock": "unlock",
    "upgrade": "upgrade",
    "rekey": "rekey",
    "da-reset": "da_reset",
    "migrate": "migrate",
    "migrate-check": "migrate_check",
    "take-back": "take_back",
    "accept-rollback": "accept_rollback",
    "backup": "backup",
    "restore": "restore",
    "snapshot": "snapshot",
    "clone": "clone",
    "export": "export",
    "import": "import_",
    "delete": "delete",
    "qemu-args": "qemu_args",
    "libvirt-xml": "libvirt_xml",
    "pcr": "pcr",
    "ek": "ek",
    "ca": "ca",
    "provider": "provider",
    "verify": "verify",
    "events": "events",
    "logs": "logs",
    "top": "top",
    "metrics": "metrics",
    "doctor": "doctor",
    "capabilities": "capabilities",
    "completion": "completion",
    "version": "version",
}


class Verbs(click.Group):
    """A group that imports a verb's module only when the verb is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"vtpmd.cli.verbs.{VERBS[cmd_name]}")
        return cast("click.Command", module.command)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a verb; whatever fails becomes a message and an exit status here."""
        try:
            return super().invoke(ctx)
        except ClientError as error:
            show_error(error)
            sys.exit(error.exit_status)
        except (KeyboardInterrupt, click.Abort):
            _end(names.EXIT_INTERRUPTED, "interrupted; what was asked of vtpmd may still be done")
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # nobody reads on: click ends without a word
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python tries once more at its end
            _end(names.EXIT_FILE, f"standard output: {error.strerror}")

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Exit status"):
            formatter.write_dl([(str(code), text) for code, text in names.EXIT_STATUSES.items()])


def _end(status: int, reason: str) -> NoReturn:
    say(f"vtpmctl: {reason}", err=True)
    sys.exit(status)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--socket",
    metavar="PATH",
    envvar=names.ADMIN_SOCKET_VARIABLE,
    default=names.DEFAULT_ADMIN_SOCKET,
    show_default=True,
    help=f"The daemon's admin socket (or {names.ADMIN_SOCKET_VARIABLE}).",
)
@click.pass_context
def main(context: click.Context, socket: str) -> None:
    """Manage the virtual TPMs of this host."""
    context.obj = Client(socket)


if __name__ == "__main__":
    main(prog_name="vtpmctl")

"""vtpmd-swtpm: one TPM in the foreground, under the command line that is typed for swtpm."""

import json
import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from vtpmd import __version__
from vtpmd.standalone import options
from vtpmd.standalone.run import run
from vtpmd.standalone.syntax import UsageError

T = TypeVar("T")

_VERSION = f"vtpmd-swtpm {__version__}, a TPM 2.0 of vtpmd under swtpm's command line"
_ABSENT = {
    "key": "the state is always encrypted, under the keyring beside it",
    "migration-key": "state blobs are always encrypted, under the instance's own key",
}

_EPILOG = """\b
What differs from swtpm:
  The state is encrypted: DIRECTORY/keyring (0600, made at the first start) opens it. Keep a copy.
  Its files have mode 0600, whatever --tpmstate mode=… says; it is no state that swtpm can read.
  The process is sandboxed unless --seccomp action=none is given; what is not permitted fails.
  Only TPM 2.0 and only the socket interface.
  A new TPM has no persistent EKs: swtpm_setup --createek puts them there.
  DIRECTORY/tpm2-00.permall holds no state, but tells swtpm_setup that there is one. Where
  swtpm_setup has removed it (--overwrite), it gets a new TPM; the former is in nvram.replaced.
"""


class _Words(click.ParamType[Any]):
    """An option with words of its own, by the function that knows them."""

    name = "words"

    def __init__(self, parse: Callable[[str], object]) -> None:
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return self._parse(value)
        except UsageError as error:
            raise click.UsageError(str(error), ctx) from None


def _refuse(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is not None:
        raise click.UsageError(f"{param.opts[0]} is not possible: {_ABSENT[param.opts[0][2:]]}")


def _words(parse: Callable[[str], object], metavar: str) -> dict[str, Any]:
    return {"type": _Words(parse), "metavar": metavar}


_settings = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(context_settings=_settings, epilog="See: vtpmd-swtpm socket --help")
@click.version_option(__version__, "-v", "--version", message=_VERSION)
def main() -> None:
    """Serve one TPM 2.0, encrypted at rest, to QEMU, tpm2-tss and tests."""


@main.command(context_settings=_settings, epilog=_EPILOG)
@click.option("--tpm2", is_flag=True, help="A TPM 2.0. Must be given: swtpm's default is TPM 1.2.")
@click.option(
    "--server",
    **_words(
        options.server,
        "[type=tcp,]port=N[,bindaddr=A][,disconnect] | type=unixio,path=P[,mode=M] | fd=N",
    ),
    help="Where TPM commands come in.",
)
@click.option("-p", "--port", type=click.IntRange(1, 65535), help="The same as --server port=N.")
@click.option(
    "--ctrl",
    "control",
    **_words(
        options.control,
        "type=tcp,port=N[,bindaddr=A] | "
        "type=unixio,path=P[,mode=M] | fd=N | clientfd=N [,terminate]",
    ),
    help="The control channel.",
)
@click.option(
    "--tpmstate",
    "state",
    **_words(options.state, "dir=D | backend-uri=dir://D"),
    help="The state's directory, else that of the variable TPM_PATH.",
)
@click.option(
    "--flags",
    **_words(
        options.flags,
        "not-need-init | startup-clear | startup-state | startup-none | disable-auto-shutdown",
    ),
    help="Power the TPM on without a client.",
)
@click.option(
    "--locality",
    "localities",
    **_words(options.localities, "allow-set-locality | reject-locality-4"),
    help="What clients may do.",
)
@click.option(
    "--log",
    **_words(options.log, "[file=P | fd=N][,level=N][,prefix=T][,truncate]"),
    help="Where to log instead of standard error (file=- is nowhere), and how much: at level 0 "
    "what fails, from 5 on every command with its response code.",
)
@click.option("--pid", **_words(options.pid, "file=P | fd=N"), help="Write the process id there.")
@click.option(
    "--seccomp",
    "sandboxed",
    **_words(options.sandboxed, "action=kill | action=none"),
    help="The sandbox, seccomp and all: none switches it off.",
)
@click.option("-d", "--daemon", is_flag=True, help="Detach once the TPM is served.")
@click.option("-t", "--terminate", is_flag=True, help="End when a data connection ends.")
@click.option("--key", callback=_refuse, expose_value=False, hidden=True)
@click.option("--migration-key", callback=_refuse, expose_value=False, hidden=True)
@click.option("--print-capabilities", is_flag=True, help="Print them as JSON and end.")
@click.option("--print-states", is_flag=True, help="Print which states are stored and end.")
@click.version_option(__version__, "-v", "--version", message=_VERSION)
def socket(
    tpm2: bool,
    port: int | None,
    print_capabilities: bool,
    print_states: bool,
    **asked: Any,
) -> None:
    """Serve one TPM over sockets until a signal or CMD_SHUTDOWN."""
    if print_capabilities:
        from vtpmd.standalone.describe import capabilities  # the engine's profiles take a moment

        click.echo(json.dumps(capabilities()))
        return
    given = {name: value for name, value in asked.items() if value is not None}
    if "state" not in given:
        given["state"] = _default_state()
    if print_states:
        from vtpmd.standalone.describe import states

        click.echo(json.dumps(states(given["state"].directory)))
        return
    if not tpm2:
        raise click.UsageError("there is no TPM 1.2 here: add --tpm2")
    try:
        if port is not None:
            given.setdefault("server", options.server(f"port={port}"))
        line = options.CommandLine(**given)
    except UsageError as error:
        raise click.UsageError(str(error)) from None
    sys.exit(run(line))


def _default_state() -> options.State:
    directory = os.environ.get("TPM_PATH")
    if not directory:
        raise click.UsageError("--tpmstate dir=DIRECTORY is missing, and so is TPM_PATH")
    return options.state(f"dir={directory}")


if __name__ == "__main__":
    main(prog_name="vtpmd-swtpm")

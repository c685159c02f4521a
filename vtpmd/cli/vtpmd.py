"""vtpmd: the daemon's own command line."""

import sys
from pathlib import Path
from typing import NoReturn

import click

from vtpmd import __version__, daemon
from vtpmd.api import names
from vtpmd.api.text import printable
from vtpmd.config.loader import ConfigurationError, load
from vtpmd.config.schema import Configuration
from vtpmd.linux.errors import InUseError
from vtpmd.linux.streams import occupy_streams
from vtpmd.storage.errors import StorageError
from vtpmd.telemetry import log

EXIT_STATUSES = f"""\b
Exit status:
  0   ended as asked
  2   the command line is not valid
  {names.DAEMON_EXIT_FAILED}  the daemon cannot work here, or failed
  {names.DAEMON_EXIT_BUSY}  another daemon uses the state or the runtime directory
  {names.DAEMON_EXIT_CONFIGURATION}  the configuration is not valid
"""


@click.group(
    invoke_without_command=True,
    epilog=EXIT_STATUSES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option(
    "--config",
    metavar="FILE",
    type=click.Path(path_type=Path),
    default=Path(names.DEFAULT_CONFIGURATION),
    show_default=True,
    help="The configuration.",
)
@click.version_option(__version__, message="vtpmd %(version)s")
@click.pass_context
def main(context: click.Context, config: Path) -> None:
    """Give every virtual machine of this host its own TPM 2.0."""
    context.obj = config
    if context.invoked_subcommand is not None:
        return
    occupy_streams()
    configuration = _load(config)
    log.configure(configuration.log.level, configuration.log.format)
    try:
        daemon.run(configuration)
    except InUseError as error:
        _end(names.DAEMON_EXIT_BUSY, str(error))
    except ConfigurationError as error:
        _end(names.DAEMON_EXIT_CONFIGURATION, *(f"{config}: {each}" for each in error.problems))
    except daemon.UnfitError as error:
        _end(names.DAEMON_EXIT_FAILED, *error.problems)
    except (StorageError, OSError) as error:
        _end(names.DAEMON_EXIT_FAILED, str(error))
    except Exception:
        log.get_logger("vtpmd").exception("defect")
        _end(names.DAEMON_EXIT_FAILED, "ended by a defect: see the log")


@main.command("check-config")
@click.argument("file", metavar="[FILE]", type=click.Path(path_type=Path), required=False)
@click.option("--config", metavar="FILE", type=click.Path(path_type=Path), help="The same.")
@click.pass_obj
def check_config(default: Path, file: Path | None, config: Path | None) -> None:
    """Check a configuration, and the files that it names, and tell everything that is wrong.

    Root looks as the daemon's user: the owner of state_dir, or else the user vtpmd.
    """
    from . import checking  # loads the engine

    path = file or config or default
    problems, fault = checking.check(path)
    if fault is not None:
        _end(names.DAEMON_EXIT_FAILED, *problems, fault)
    if problems:
        _end(names.DAEMON_EXIT_CONFIGURATION, *problems)
    click.echo(printable(f"{path}: no problems found"))


def _load(config: Path) -> Configuration:
    try:
        return load(config)
    except ConfigurationError as error:
        _end(names.DAEMON_EXIT_CONFIGURATION, *error.problems)


def _end(status: int, *lines: str) -> NoReturn:
    for line in lines:
        click.echo(printable(f"vtpmd: {line}"), err=True)
    sys.exit(status)


if __name__ == "__main__":
    main(prog_name="vtpmd")

"""vtpmctl doctor: what is wrong with this host and its instances, and what to do about it.

What needs no daemon is looked at by a process of its own, which may go on as the daemon's user.
"""

import json
import sys
from pathlib import Path

import click

from vtpmd.api import codec, names
from vtpmd.api.codec import ReportError
from vtpmd.api.errors import UNREACHABLE, ClientError
from vtpmd.api.problems import FORBIDDEN
from vtpmd.api.schema import Diagnosis, Finding

from ..completion import INSTANCE
from ..output import HINTS, client, json_option, say, say_wrapped, show_json

_TIMEOUT = 120.0


@click.command
@click.argument("name", metavar="[NAME|UUID]", type=INSTANCE, required=False)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    default=Path(names.DEFAULT_CONFIGURATION),
    show_default=True,
    help="The configuration that is looked at where the daemon does not answer.",
)
@json_option
def command(name: str | None, config: Path, as_json: bool) -> None:
    """Look for what is wrong with this host, its keys and its TPMs, or may become so.

    With a NAME for what is wrong with that instance. Each finding has a verdict, a reason and,
    where something is to be done, a remedy; the exit status is that of the worst verdict. Without a
    running daemon the configuration is looked at, by root as the daemon's user sees it.
    """
    if name is not None:
        diagnosis = client().doctor(name)
        findings, document = diagnosis.findings, diagnosis.document
    else:
        findings = (*_machine(), *_daemon(config))
        document = codec.encode_report(Diagnosis(findings=findings))
    if as_json:
        show_json(document)
    else:
        _show(findings)
    sys.exit(max((_status(each) for each in findings), default=0))


def _machine() -> tuple[Finding, ...]:
    return _process("machine", Path(client().path).parent)


def _daemon(config: Path) -> tuple[Finding, ...]:
    """What the daemon says, or else what its configuration does."""
    try:
        said = client().doctor().findings
    except ClientError as error:
        if error.problem is FORBIDDEN:
            return (_about_daemon(names.UNKNOWN, error.detail, HINTS[FORBIDDEN.code]),)
        if error.problem is not UNREACHABLE:
            raise
        remedy = "systemctl start vtpmd; `journalctl -u vtpmd` says why it ended"
        silent = _about_daemon(names.BAD, error.detail, remedy)
        return (silent, *_process("configuration", config))
    return (_about_daemon(names.OK, f"it answers on {client().path}"), *said)


def _about_daemon(verdict: str, reason: str, remedy: str = "") -> Finding:
    return Finding(check="daemon", verdict=verdict, reason=reason, remedy=remedy)


def _process(part: str, path: Path) -> tuple[Finding, ...]:
    """What `python -m vtpmd.doctor` finds; that it failed, if it did."""
    import subprocess  # takes a while to load, and no other verb needs it

    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "vtpmd.doctor", part, str(path)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT,
            check=True,
        )
        return codec.decode(Diagnosis, json.loads(done.stdout)).findings
    except subprocess.CalledProcessError as error:
        lines = error.stderr.decode(errors="replace").splitlines()
        reason = lines[-1] if lines else f"it ended with status {error.returncode}"
    except (OSError, subprocess.TimeoutExpired, ValueError, ReportError) as error:
        reason = str(error)
    return (Finding(check=part, verdict=names.UNKNOWN, reason=f"not looked at: {reason}"),)


def _status(finding: Finding) -> int:
    """The exit status of a verdict; one that only a newer daemon knows is none that is known."""
    return names.EXIT_VERDICTS.get(finding.verdict, names.EXIT_VERDICTS[names.UNKNOWN])


def _show(findings: tuple[Finding, ...]) -> None:
    width = max((len(each.verdict) for each in findings), default=0)
    for each in findings:
        say_wrapped(f"{each.verdict:<{width}}  ", f"{each.check}: {each.reason}")
        if each.remedy:
            say_wrapped(f"{'':<{width}}  → ", each.remedy)
    if not findings:
        say("there is nothing to look at")

"""One request for each of several instances; a failure does not undo the others or stop them."""

import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

from vtpmd.api.errors import UNREACHABLE, ClientError
from vtpmd.api.schema import InstanceInfo, Report

from .output import say, show_hint, show_json

SomeReport = TypeVar("SomeReport", bound=Report)


def each(
    instances: Sequence[InstanceInfo],
    ask: Callable[[str], SomeReport],
    line: Callable[[SomeReport], str],
    json_name: str | None,
) -> None:
    """`ask` the daemon for each instance by its UUID, and print each result as it arrives.

    `line` formats a report. With `json_name` all reports are printed as JSON in the end instead,
    under that name. If something failed, vtpmctl ends with the first failure's exit status.
    Raises ClientError as soon as the daemon cannot be reached.
    """
    _each([(str(info.uuid), info.name) for info in instances], ask, line, json_name)


def each_named(
    names: Sequence[str],
    ask: Callable[[str], SomeReport],
    line: Callable[[SomeReport], str],
    json_name: str | None,
) -> None:
    """The same for instances that somebody has named, each once."""
    _each([(name, name) for name in dict.fromkeys(names)], ask, line, json_name)


def one_or_each(
    names: Sequence[str],
    ask: Callable[[str], SomeReport],
    line: Callable[[SomeReport], str],
    json_name: str | None,
) -> None:
    """`each_named`, and of a single instance its report alone. Raises ClientError for that."""
    if len(names) > 1:
        each_named(names, ask, line, json_name)
        return
    report = ask(names[0])
    if json_name is None:
        say(line(report))
    else:
        show_json(report.document)


def _each(
    instances: Sequence[tuple[str, str]],
    ask: Callable[[str], SomeReport],
    line: Callable[[SomeReport], str],
    json_name: str | None,
) -> None:
    done: list[dict[str, object]] = []
    failures: list[tuple[str, ClientError]] = []
    for number, (subject, name) in enumerate(instances, 1):
        place = f"[{number}/{len(instances)}]"
        try:
            report = ask(subject)
        except ClientError as error:
            if error.problem is UNREACHABLE:
                raise
            failures.append((name, error))
            say(f"{place} {name}: {error.detail}", err=True)
            continue
        done.append(report.document)
        if json_name is None:
            say(f"{place} {line(report)}")
    if json_name is not None:
        failed = [{"name": name, **error.document} for name, error in failures]
        show_json({json_name: done, "failed": failed})
    else:
        for failure in {each.problem: each for _, each in failures}.values():
            show_hint(failure)
    if failures:
        sys.exit(failures[0][1].exit_status)

"""One request for each of several instances: what is done stays done, whatever fails."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

from vtpmd.api import names
from vtpmd.api.client import Failure

from .output import client, fail, show_json


def each(
    instances: Sequence[dict[str, Any]],
    route: names.Route,
    content: object,
    line: Callable[[dict[str, Any]], str],
    json_name: str | None,
) -> None:
    """Ask the daemon for each instance in turn, and tell as it goes what was done.

    `line` is what to print of an answer; instead of lines the answers are printed as JSON, under
    `json_name`, in the end if there is one. Ends vtpmctl with the first failure's exit status if
    something was not done, and at once if the daemon cannot be reached.
    """
    done: list[dict[str, Any]] = []
    failures: list[tuple[str, Failure]] = []
    for number, info in enumerate(instances, 1):
        place = f"[{number}/{len(instances)}]"
        try:
            answer = client().call(route, info["uuid"], content)
        except Failure as failure:
            if failure.exit_status == names.EXIT_UNREACHABLE:
                fail(failure)
            failures.append((info["name"], failure))
            click.echo(f"{place} {info['name']}: {failure.detail}", err=True)
            continue
        done.append(answer)
        if json_name is None:
            click.echo(f"{place} {line(answer)}")
    if json_name is not None:
        failed = [{"name": name, **failure.document} for name, failure in failures]
        show_json({json_name: done, "failed": failed})
    if failures:
        sys.exit(failures[0][1].exit_status)

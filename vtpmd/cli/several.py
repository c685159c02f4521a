"""One request for each of several instances: what is done stays done, whatever fails."""

import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

from vtpmd.api.errors import UNREACHABLE, ClientError
from vtpmd.api.schema import InstanceInfo, Report

from .output import say, show_json

SomeReport = TypeVar("SomeReport", bound=Report)


def each(
    instances: Sequence[InstanceInfo],
    ask: Callable[[str], SomeReport],
    line: Callable[[SomeReport], str],
    json_name: str | None,
) -> None:
    """`ask` the daemon about each instance by its UUID, and tell as it goes what was done.

    `line` is what to print of an answer; instead of lines the answers are printed as JSON, under
    `json_name`, in the end if there is one. Ends vtpmctl with the first failure's exit status if
    something was not done, and at once if the daemon cannot be reached.
    """
    done: list[dict[str, object]] = []
    failures: list[tuple[str, ClientError]] = []
    for number, info in enumerate(instances, 1):
        place = f"[{number}/{len(instances)}]"
        try:
            report = ask(str(info.uuid))
        except ClientError as error:
            if error.problem is UNREACHABLE:
                raise
            failures.append((info.name, error))
            say(f"{place} {info.name}: {error.detail}", err=True)
            continue
        done.append(report.document)
        if json_name is None:
            say(f"{place} {line(report)}")
    if json_name is not None:
        failed = [{"name": name, **error.document} for name, error in failures]
        show_json({json_name: done, "failed": failed})
    if failures:
        sys.exit(failures[0][1].exit_status)

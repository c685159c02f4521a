"""Attack a vtpmd of one's own from all sides, and measure what another machine notices.

    python -m tests.attacks [--seconds N] [--quiet N]

Takes root: the attackers are users of their own. While a guest, a worker that was taken over, a
member of the sockets' group and users without rights attack from one core, TPM2_PCR_Extend of
another machine and what `vtpmctl list` asks as root are measured on the other cores, beside a quiet
run before.

Exit status: 0 nothing was lost and both stay within the bounds; 1 otherwise; 2 not as root.
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.attacks.together import Outcome, attack
from tests.bench.results import Timing

TIMES_OF_QUIET = 3.0
MILLISECONDS = 50.0


def table(outcome: Outcome) -> Iterator[str]:
    """What was measured, line by line."""
    yield f"{'ms':12}{'quiet p50':>12}{'p99':>9}{'attacked p50':>15}{'p99':>9}{'samples':>10}"
    for name, quiet, attacked in measured(outcome):
        yield (
            f"{name:12}{quiet.median:12.2f}{quiet.p99:9.2f}"
            f"{attacked.median:15.2f}{attacked.p99:9.2f}{attacked.samples:10}"
        )
    yield "rounds:  " + ", ".join(f"{name} {count}" for name, count in outcome.rounds.items())
    yield f"memory:  {outcome.memory >> 20} MiB more for the supervisor"
    yield f"log:     {outcome.octets} octets"
    for event, count in outcome.lines.most_common():
        yield f"         {count:8} {event}"


def measured(outcome: Outcome) -> Iterator[tuple[str, Timing, Timing]]:
    yield "PCR_Extend", outcome.quiet.extend, outcome.attacked.extend
    yield "list", outcome.quiet.list, outcome.attacked.list


def broken(outcome: Outcome) -> Iterator[str]:
    """What is not as it should be."""
    yield from outcome.lost
    for name, count in outcome.rounds.items():
        if not count:
            yield f"the {name} has not attacked"
    for name, quiet, attacked in measured(outcome):
        if attacked.p99 > TIMES_OF_QUIET * quiet.p99:
            yield f"{name}: p99 is {attacked.p99 / quiet.p99:.1f} times that of the quiet run"
        if attacked.p99 > MILLISECONDS:
            yield f"{name}: p99 is {attacked.p99:.1f} ms"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/attack",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=float, default=300.0, help="[%(default)s]")
    parser.add_argument("--quiet", type=float, default=60.0, help="the quiet run [%(default)s]")
    given = parser.parse_args()
    if os.geteuid() != 0:
        print("attack: this takes root", file=sys.stderr)
        return 2
    directory = Path(tempfile.mkdtemp(prefix="vtpm."))
    try:
        outcome = attack(directory, given.quiet, given.seconds)
    finally:
        shutil.rmtree(directory)
    print(*table(outcome), sep="\n")
    problems = list(broken(outcome))
    print(*(f"BROKEN:  {problem}" for problem in problems), sep="\n", end="\n" if problems else "")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

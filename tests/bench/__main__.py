"""scripts/bench: vtpmd and swtpm side by side, in the same run.

Every process is pinned, for where they run decides more than what they do: once all on one CPU,
once who asks and who answers on a CPU of their own. Several rounds of everything; what is shown are
medians of rounds, in milliseconds, and the relation to swtpm. CPU is what the serving process took
for one step, in user and system mode. swtpm is as it is: it never syncs its state. What vtpmd has
created is sealed, durable and served; swtpm_setup makes the same kinds of endorsement keys and PCR
banks, and leaves it at that.
"""

import argparse
import os
import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.bench import plot, results
from tests.bench.hosts import Host, host_of
from tests.bench.measure import measurements
from tests.bench.processes import placements
from tests.bench.results import BEFORE, OURS, PEER, ReadError, Run
from tests.bench.run import Bench, machine, tell
from tests.bench.table import table
from tests.bench.workloads import WORKLOADS

ROOT = Path(__file__).parents[2]
VECTORS = Path(os.environ.get("VTPMD_VECTORS", ROOT.parent / "shared/vectors"))
RECORDED_BOOT = VECTORS / "traces/win11-swtpm.log"


def names_of_hosts(wanted: str, checkout: Path | None) -> list[str]:
    """Those that are there; whoever is missing is told."""
    names = wanted.split(",")
    if PEER in names and shutil.which(PEER) is None:
        tell("swtpm is not installed: vtpmd is measured alone")
        names.remove(PEER)
    return [*names, BEFORE] if checkout else names


def measure(given: argparse.Namespace, checkout: Path | None) -> tuple[Run, bool]:
    """A run, and whether it is whole."""
    places = placements(os.sched_getaffinity(0))
    if len(places) == 1:
        tell("one CPU may be used: nothing is measured on two")
    if not RECORDED_BOOT.exists():
        tell(f"no boot is replayed: {RECORDED_BOOT} is missing; VTPMD_VECTORS names its directory")
    measured = [each for each in measurements(RECORDED_BOOT) if given.only in each.name]
    directory = Path(tempfile.mkdtemp(prefix="vtpm-bench."))
    directory.chmod(0o711)  # the daemon may run as somebody else
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        hosts: dict[str, Host] = {}
        for name in names_of_hosts(given.hosts, checkout):
            hosts[name] = host_of(name, directory / name, checkout)
            stack.callback(hosts[name].close)
        bench = Bench(hosts)
        run = Run(machine(), bench.time(measured, places, given.rounds, given.scale))
        if given.instances and not given.only:
            run.idle = bench.idle(given.instances, given.scale)
    for placement, rows in run.latency.items():
        if relations := results.ratios(rows, [workload.name for workload in WORKLOADS]):
            run.geometric_mean[placement] = results.geometric_mean(relations)
    return run, not bench.failed


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--hosts", default=f"{OURS},{PEER}", help="[%(default)s]")
    add("--only", default="", metavar="TEXT", help="rows with TEXT in the name")
    add("--rounds", type=int, default=3, help="[%(default)s]")
    add("--scale", type=float, default=1.0, help="more or fewer steps in a round: 0.1 is quick")
    add("--instances", type=int, default=200, help="how many are idle; 0: none [%(default)s]")
    add("--json", metavar="FILE", help="write the results there; -: to the output, with no table")
    add("--read", type=Path, metavar="FILE", help="measure nothing: show a run of --json")
    add(
        "--before",
        type=Path,
        metavar="PATH",
        help="compare with an earlier run of --json, or with a checkout of vtpmd that has a .venv, "
        "which is measured in the same run",
    )
    add("--plot", type=Path, metavar="DIRECTORY", help="write plots there (SVG)")
    return parser.parse_args()


def main() -> int:
    given = arguments()
    checkout = given.before if given.before and given.before.is_dir() else None
    if checkout and not (checkout / ".venv/bin/vtpmd").exists():
        tell(f"bench: {checkout}/.venv/bin/vtpmd is missing")
        return 2
    try:
        earlier = results.read(given.before) if given.before and not checkout else None
        run, whole = (results.read(given.read), True) if given.read else measure(given, checkout)
    except ReadError as error:
        tell(f"bench: {error}")
        return 2
    if earlier:
        results.compare(run, earlier)
    if given.json and given.json != "-":
        Path(given.json).write_text(results.written(run) + "\n")
    print(results.written(run) if given.json == "-" else "\n".join(table(run)))
    if given.plot:
        plot.write(run, given.plot)
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(main())

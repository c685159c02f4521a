"""scripts/bench: vtpmd and swtpm side by side, in the same run."""

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.bench import measure
from tests.bench.encoding import RefusedError
from tests.bench.hosts import HOSTS, Host
from tests.bench.measure import Memory, Timing
from tests.bench.target import Target
from tests.bench.workloads import WORKLOADS
from tests.peers.instance import Instance

ROOT = Path(__file__).parents[2]
VECTORS = Path(os.environ.get("VTPMD_VECTORS", ROOT.parent / "shared/vectors"))
RECORDED_BOOT = VECTORS / "traces/win11-swtpm.log"
PEER = "swtpm"


class Report:
    """Prints rows as they come, with the ratio to the peer, and keeps them for --json."""

    def __init__(self, hosts: list[str], out: Any) -> None:
        self._hosts, self._out = hosts, out
        self.rows: dict[str, dict[str, Any]] = {}
        self.failed = False

    def _print(self, cells: list[str]) -> None:
        print(f"{cells[0]:34}" + "".join(f"{cell:>17}" for cell in cells[1:]), file=self._out)
        self._out.flush()

    def heading(self, title: str, columns: list[str]) -> None:
        print(file=self._out)
        names = [f"{host} {column}" for host in self._hosts for column in columns]
        ratios = [f"ratio {column}" for column in columns] if len(self._hosts) > 1 else []
        self._print([title, *names, *ratios])

    def row(self, name: str, results: Mapping[str, Timing | Memory], columns: list[str]) -> None:
        self.rows[name] = {host: vars(result) for host, result in results.items()}
        cells = [f"{getattr(results[h], c):.3f}" for h in self._hosts for c in columns]
        if len(self._hosts) > 1:
            ours, theirs = (
                next(results[h] for h in self._hosts if (h == PEER) is is_peer)
                for is_peer in (False, True)
            )
            cells += [_ratio(getattr(ours, c), getattr(theirs, c)) for c in columns]
        self._print([name, *cells])

    def missing(self, name: str, reason: str) -> None:
        self.failed = True
        self._print([name, reason])


def _ratio(ours: float, theirs: float) -> str:
    return f"{ours / theirs:.2f}" if theirs else "-"


def time_everything(
    report: Report,
    hosts: Mapping[str, Host],
    instances: Mapping[str, Instance],
    scale: float,
    only: str,
) -> None:
    columns = ["median", "p99"]
    report.heading("milliseconds", columns)
    for workload in WORKLOADS:
        if only not in workload.name:
            continue
        try:
            results = measure.latency(hosts, instances, workload, scale)
        except RefusedError as reason:
            report.missing(workload.name, str(reason))
        else:
            report.row(workload.name, results, columns)
    if only:
        return
    if RECORDED_BOOT.exists():
        commands = measure.recorded_commands(RECORDED_BOOT)
        name = f"Windows 11 boot, {len(commands)} commands"
        report.row(
            name, measure.recorded_boot(instances, commands, round(20 * scale) or 1), columns
        )
    starts = measure.starts(hosts, instances, round(20 * scale) or 1)
    report.row("start to first answer", starts, columns)


def weigh_everything(
    report: Report, hosts: Mapping[str, Host], instances: Mapping[str, Instance], counts: list[int]
) -> None:
    columns = ["pss", "private"]
    report.heading("MiB", columns)
    served = {name: [instance] for name, instance in instances.items()}
    targets: list[Target] = []
    for count in counts:
        for name, host in hosts.items():
            while len(served[name]) < count:
                served[name].append(host.create(f"bench{len(served[name])}"))
            for instance in served[name]:
                targets.append(Target(instance))
                targets[-1].startup()
        weighed = {name: measure.memory(host, served[name]) for name, host in hosts.items()}
        each = {name: mean for name, (mean, _) in weighed.items()}
        common = {name: shared for name, (_, shared) in weighed.items()}
        report.row(f"each of {count} started TPMs", each, columns)
        report.row(f"  and what {count} have in common", common, columns)
        for target in targets:
            target.close()
        targets.clear()


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--hosts", default="vtpmd,swtpm", help="[%(default)s]")
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="workloads with TEXT in the name"
    )
    parser.add_argument("--scale", type=float, default=1.0, help="more or fewer samples")
    parser.add_argument("--instances", type=int, default=50, help="for memory; 0: no memory")
    parser.add_argument("--json", action="store_true", help="the results as JSON, no table")
    given = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="vtpm-bench."))
    directory.chmod(0o711)  # the daemon may run as somebody else
    hosts: dict[str, Host] = {}
    try:
        for name in given.hosts.split(","):
            (directory / name).mkdir()
            hosts[name] = HOSTS[name](directory / name)
        instances = {name: host.create("bench0") for name, host in hosts.items()}
        report = Report(list(hosts), sys.stderr if given.json else sys.stdout)
        time_everything(report, hosts, instances, given.scale, given.only)
        if given.instances and not given.only:
            weigh_everything(report, hosts, instances, sorted({1, given.instances}))
        if given.json:
            print(json.dumps(report.rows, indent=1))
        return 1 if report.failed else 0
    finally:
        for host in hosts.values():
            host.close()
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())

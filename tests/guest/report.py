"""The results of a run, for people and for programs."""

import json
from pathlib import Path

from tests.guest.console import Results
from tests.guest.run import Run


def print_results(run: Run) -> None:
    results, options = run.results, run.options
    for text in results.failures:
        print(f"FAIL (guest) {text}")
    for text in results.problems:
        print(f"FAIL (host)  {text}")
    for number, boot in enumerate(results.boots, 1):
        if replay := boot.replay:
            print(
                f"boot {number}: {replay.events} events, {replay.compared} PCR values of "
                f"{', '.join(replay.banks)} compared with the log"
            )
    for seconds, text in results.timeline:
        print(f"{seconds:8.2f} s  {text}")
    print(
        f"{'FAILED' if results.failed else 'passed'}: {options.scenario}, tpm-{options.model}, "
        f"{run.accelerator}: {sum(map(len, results.passes.values()))} checks passed, "
        f"{len(results.failures)} failed, {len(results.skips)} skipped, "
        f"{len(results.problems)} problems, {results.elapsed():.1f} s"
    )


def save_blobs(results: Results, directory: Path) -> None:
    """Write event logs, certificates and PCRs of each boot, one file each."""
    directory.mkdir(parents=True, exist_ok=True)
    for number, boot in enumerate(results.boots, 1):
        for name, blob in boot.blobs.items():
            (directory / f"boot{number}-{name}.bin").write_bytes(blob.data)
        for tag, pcrs in boot.pcrs.items():
            lines = [
                f"{bank} {index} {value.hex()}\n"
                for bank, values in pcrs.items()
                for index, value in sorted(values.items())
            ]
            (directory / f"boot{number}-{tag}.pcrs").write_text("".join(lines))


def write_json(run: Run, path: Path) -> None:
    results, options = run.results, run.options
    boots = [
        {
            "facts": boot.facts,
            "replay": vars(boot.replay) if boot.replay else None,
            "pcrs": {
                tag: {
                    bank: {str(index): value.hex() for index, value in values.items()}
                    for bank, values in pcrs.items()
                }
                for tag, pcrs in boot.pcrs.items()
            },
        }
        for boot in results.boots
    ]
    document = {
        "scenario": options.scenario,
        "model": options.model,
        "accelerator": run.accelerator,
        "passed": not results.failed,
        "passes": results.passes,
        "failures": results.failures,
        "skips": results.skips,
        "problems": results.problems,
        "timeline": results.timeline,
        "boots": boots,
    }
    path.write_text(json.dumps(document, indent=1))

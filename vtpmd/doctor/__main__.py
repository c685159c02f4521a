"""The checks that need no daemon, as a process of their own: findings as JSON, for vtpmctl.

python -m vtpmd.doctor machine RUNTIME_DIR
python -m vtpmd.doctor configuration FILE
"""

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from vtpmd.api.codec import encode_report
from vtpmd.api.schema import Diagnosis, Finding
from vtpmd.telemetry import log

from . import machine
from .finding import examine


def _machine(runtime_dir: Path) -> Iterable[Finding]:
    return examine(machine.CHECKS, machine.Machine(runtime_dir))


def _configuration(file: Path) -> Iterable[Finding]:
    from .alone import judge  # which takes a moment to load

    return judge(file)


PARTS: dict[str, Callable[[Path], Iterable[Finding]]] = {
    "machine": _machine,
    "configuration": _configuration,
}


def main() -> None:
    """Look, and print. KeyError for no part."""
    log.configure("error")  # to standard error; the findings say the rest
    part, path = sys.argv[1:]
    findings = tuple(PARTS[part](Path(path)))
    print(json.dumps(encode_report(Diagnosis(findings=findings))))


if __name__ == "__main__":
    main()

"""Fuzz one target with atheris: python -m tests.fuzz TARGET CORPUS [LIBFUZZER ARGUMENT...]."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from tests import recorded

atheris: Any = import_module("atheris")

with atheris.instrument_imports(include=["vtpmd"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    name, corpus, *arguments = sys.argv[1:]
    Path(corpus).mkdir(parents=True, exist_ok=True)
    if name == "command":
        for number, octets in enumerate(recorded.corpus()):
            Path(corpus, f"libtpms-{number}").write_bytes(octets)
    atheris.Setup([sys.argv[0], *arguments, corpus], TARGETS[name])
    atheris.Fuzz()


main()

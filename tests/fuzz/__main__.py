"""Fuzz one target with atheris: python -m tests.fuzz TARGET CORPUS [LIBFUZZER ARGUMENT...]."""

import sys
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any

from tests import recorded
from tests.fuzz import seeds

atheris: Any = import_module("atheris")

with atheris.instrument_imports(include=["vtpmd"]):
    from tests.fuzz.mutation import mutator
    from tests.fuzz.targets import TARGETS


def main() -> None:
    name, corpus, *arguments = sys.argv[1:]
    Path(corpus).mkdir(parents=True, exist_ok=True)
    if name == "command":
        for number, octets in enumerate(recorded.corpus()):
            Path(corpus, f"libtpms-{number}").write_bytes(octets)
    change = mutator(name)

    def mutate(data: bytes, max_size: int, number: int) -> bytes:
        random = Random(number)
        if random.randrange(3) == 0:
            return bytes(atheris.Mutate(data, max_size))
        return change(data, random)[:max_size]

    atheris.Setup(
        [sys.argv[0], *arguments, corpus, str(seeds.directory(name))],
        TARGETS[name],
        custom_mutator=mutate,
    )
    atheris.Fuzz()


main()

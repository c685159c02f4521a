"""Seeds: a few inputs for each target, from which a fuzzer goes on.

`python -m tests.fuzz.seeds` makes them anew.
"""

from pathlib import Path

HERE = Path(__file__).parent


def directory(target: str) -> Path:
    """Where the seeds of a target are, a file each."""
    return HERE / target


def read(target: str) -> dict[str, bytes]:
    """The seeds of a target by their names."""
    return {path.name: path.read_bytes() for path in sorted(directory(target).iterdir())}

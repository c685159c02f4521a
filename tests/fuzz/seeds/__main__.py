"""Make all seeds anew: python -m tests.fuzz.seeds."""

import shutil

from tests.fuzz.seeds import directory
from tests.fuzz.seeds.making import made


def main() -> None:
    for target, seeds in made().items():
        place = directory(target)
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        for name, octets in seeds.items():
            (place / name).write_bytes(octets)


main()

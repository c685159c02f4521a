"""Does to a configuration what a reader does who is shown a part of it.

python -m tests.docs.merge FILE PART    settings of PART take the place of those in FILE; of key
                                        providers, which have names, those of the same name
"""

import sys
from pathlib import Path
from typing import Any

import yaml


def merged(before: Any, part: Any) -> Any:
    """The configuration with the part in it."""
    if isinstance(before, dict) and isinstance(part, dict):
        return before | {key: merged(before.get(key), value) for key, value in part.items()}
    if isinstance(before, list) and isinstance(part, list) and all(map(_named, before + part)):
        named = {each["name"]: each for each in before} | {each["name"]: each for each in part}
        return list(named.values())
    return part


def _named(value: object) -> bool:
    return isinstance(value, dict) and "name" in value


def main() -> None:
    file, part = map(Path, sys.argv[1:])
    whole = merged(yaml.safe_load(file.read_text()), yaml.safe_load(part.read_text()))
    file.write_text(yaml.safe_dump(whole, sort_keys=False))


if __name__ == "__main__":
    main()

"""Names of the versions of a KEK, where versions are told apart by their names.

Version 1 of `base` is called `base`, version 2 `base.2` and so on.
"""

MAX_VERSIONS = 1000


def versioned(base: str, version: int) -> str:
    """The name of a version (1 … MAX_VERSIONS)."""
    return base if version == 1 else f"{base}.{version}"


def version_of(name: str, base: str) -> int | None:
    """Which version of `base` is called `name`; None if it is the name of something else."""
    suffix = name.removeprefix(base).removeprefix(".") or "1"
    if not suffix.isascii() or not suffix.isdecimal() or len(suffix) > len(str(MAX_VERSIONS)):
        return None
    version = int(suffix)
    known = 1 <= version <= MAX_VERSIONS and versioned(base, version) == name
    return version if known else None

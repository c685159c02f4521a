"""Names of the versions of a KEK, for services that know keys by name only.

Version 1 of `base` is named `base`, version 2 `base.2`, and so on.
"""

MAX_VERSIONS = 1000


def versioned(base: str, version: int) -> str:
    """The name of a version (1 … MAX_VERSIONS)."""
    return base if version == 1 else f"{base}.{version}"


def version_of(name: str, base: str) -> int | None:
    """The version of `base` that has this name; None if no version has it."""
    suffix = name.removeprefix(base).removeprefix(".") or "1"
    if not suffix.isascii() or not suffix.isdecimal() or len(suffix) > len(str(MAX_VERSIONS)):
        return None
    version = int(suffix)
    known = 1 <= version <= MAX_VERSIONS and versioned(base, version) == name
    return version if known else None

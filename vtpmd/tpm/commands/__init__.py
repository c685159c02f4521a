"""The commands of Part 3, one module per chapter. Importing this package registers them all."""

from . import (
    clock,
    dictionary_attack,
    duplication,
    hierarchy,
    nv,
    objects,
    pcr,
    random,
    session,
    startup,
    testing,
)

__all__ = [
    "clock",
    "dictionary_attack",
    "duplication",
    "hierarchy",
    "nv",
    "objects",
    "pcr",
    "random",
    "session",
    "startup",
    "testing",
]

"""The commands of Part 3, one module per chapter. Importing this package registers them all."""

from . import (
    capability,
    clock,
    context,
    dictionary_attack,
    duplication,
    hierarchy,
    nv,
    objects,
    pcr,
    policy,
    policy_signed,
    random,
    session,
    signing,
    startup,
    testing,
)

__all__ = [
    "capability",
    "clock",
    "context",
    "dictionary_attack",
    "duplication",
    "hierarchy",
    "nv",
    "objects",
    "pcr",
    "policy",
    "policy_signed",
    "random",
    "session",
    "signing",
    "startup",
    "testing",
]

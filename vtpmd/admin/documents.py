"""Reports as JSON, written in slices so that a long one does not hold up other clients."""

import json
from collections.abc import Sequence
from typing import Final

import trio

from vtpmd.api.codec import declared, plain
from vtpmd.api.schema import Report

SLICE: Final = 20
"""How many items of a list are written in one turn."""


async def write(report: Report) -> bytes:
    """The document of a report, as `encode_report` makes it, on one line."""
    names = [each.name for each in declared(report)]
    members = [f"{json.dumps(name)}: {await _text(getattr(report, name))}" for name in names]
    return f"{{{', '.join(members)}}}\n".encode()


async def _text(value: object) -> str:
    if not isinstance(value, (tuple, list)):
        return json.dumps(plain(value))
    slices = [await _slice(value[start : start + SLICE]) for start in range(0, len(value), SLICE)]
    return f"[{', '.join(slices)}]"


async def _slice(items: Sequence[object]) -> str:
    await trio.lowlevel.checkpoint()
    return json.dumps(plain(items))[1:-1]

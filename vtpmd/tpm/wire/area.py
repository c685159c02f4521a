"""The handle area and the parameter area of a command, whose reader is generated as a structure's.

Compiled when it is first used, or by `compile`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from ..rc import TpmError
from .codec import AllowedSets, Kind, Source

Position = Callable[[TpmError, int], TpmError]
"""Positions an error at the field with this number, from 1."""


class Area:
    """Fields in the order of their table; `read` reads all of them.

    `read(buffer, offset, profile)` returns the values and the offset just past them. It raises
    TpmError with the position of the first field that is refused.
    """

    __slots__ = ("_fields", "_position", "_title", "names", "read")

    names: tuple[str, ...]
    read: Callable[[bytes, int, AllowedSets], tuple[tuple[Any, ...], int]]

    def __init__(self, title: str, fields: Mapping[str, Kind], position: Position) -> None:
        self._title = title
        self._fields = fields
        self._position = position
        self.names = tuple(fields)
        self.read = self._compile_and_read

    def compile(self) -> None:
        """Generate the reader."""
        out = Source(self._title)
        values = [f"v{number}" for number in range(1, len(self._fields) + 1)]
        position = out.constant("position", self._position)
        with out.block("def read(buffer, offset, profile):"):
            with out.block("try:"):
                for number, kind in enumerate(self._fields.values(), 1):
                    out.line(f"number = {number}")
                    kind.emit_read(out, f"v{number}")
                out.line(f"return ({''.join(f'{value}, ' for value in values)}), offset")
            with out.block("except struct_error:"):
                out.line(f"raise {position}(TpmError(RC.INSUFFICIENT), number) from None")
            with out.block("except TpmError as error:"):
                out.line(f"raise {position}(error, number) from None")
        self.read = out.compile()["read"]

    def _compile_and_read(
        self, buffer: bytes, offset: int, profile: AllowedSets
    ) -> tuple[tuple[Any, ...], int]:
        self.compile()
        return self.read(buffer, offset, profile)

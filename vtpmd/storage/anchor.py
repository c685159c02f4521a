"""Anchors: the newest state of a TPM that was seen, told apart from the state itself.

Whoever can put an older state file back can't turn the anchor back with it, if that is kept where
he does not reach: `Directory` is meant for a disk of its own. An anchor is written now and then, so
what was stored after it was written can be turned back unseen.

One file (JSON) for each instance, named by its UUID. The rules by which it may grow are those of
`meta.json`.
"""

import json
import os
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from vtpmd.encoding.moment import moment

from .atomic import remove_file, write_file
from .directory import ensure_directory
from .errors import StorageError
from .files import read_file
from .header import BRANCH_SIZE
from .mark import Mark

FORMAT = 1
_MAX_SIZE = 16 << 10
_MAX_TOLD = 1000
_MAX_COUNT = 1 << 63  # what comes after it is a header's, too


@dataclass(frozen=True)
class Anchor:
    """The `newest` state that was seen of one TPM, and when that was last so (UTC).

    `accepted`: this state may go on instead, in a new line of the TPM's life. `told`: of a state
    that was turned back, until someone accepts it; empty otherwise.
    """

    newest: Mark
    seen: datetime = field(default_factory=lambda: datetime.now(UTC))
    accepted: Mark | None = None
    told: str = ""

    def at(self, newest: Mark) -> "Anchor":
        """The anchor from now on, when this state is the newest; nothing older is accepted."""
        return Anchor(newest, told=self.told)

    def accepting(self, state: Mark, told: str = "") -> "Anchor":
        """The anchor when this state may go on, whatever its age."""
        return replace(self, accepted=state, told=told[:_MAX_TOLD])

    def encode(self) -> bytes:
        """The file's content."""
        content = {
            "format": FORMAT,
            "newest": _encode(self.newest),
            "seen": self.seen.isoformat(),
            "accepted": None if self.accepted is None else _encode(self.accepted),
            "told": self.told,
        }
        return json.dumps(content, indent=2).encode() + b"\n"

    @classmethod
    def decode(cls, data: bytes) -> "Anchor":
        """Read a file's content. Raises StorageError `unsafe` for what `encode` does not write."""
        try:
            content = json.loads(data)
            if type(content["format"]) is not int or content["format"] != FORMAT:
                raise ValueError(f"it does not have format {FORMAT}")
            accepted = content.get("accepted")
            seen = moment(content["seen"])
            told = content.get("told", "")
            if type(told) is not str or not told.isprintable():
                raise ValueError("a text that can't be printed")
            return cls(
                _decode(content["newest"]),
                seen,
                None if accepted is None else _decode(accepted),
                told[:_MAX_TOLD],
            )
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            reason = f"the anchor is not one that vtpmd has written ({type(error).__name__})"
            raise StorageError("unsafe", reason) from None


class Directory:
    """The anchors of all instances. Raises StorageError, as do its methods."""

    def __init__(self, path: Path) -> None:
        self._fd = ensure_directory(path)

    def close(self) -> None:
        os.close(self._fd)

    def read(self, uuid: UUID) -> Anchor | None:
        """The anchor of an instance, None if there is none yet."""
        try:
            return Anchor.decode(read_file(_name(uuid), _MAX_SIZE, dir_fd=self._fd))
        except StorageError as error:
            if error.kind == "missing":
                return None
            raise

    def write(self, uuid: UUID, anchor: Anchor) -> None:
        """Make an anchor durable. One that could not be read again is refused as `unsafe`."""
        content = anchor.encode()
        Anchor.decode(content)
        write_file(self._fd, _name(uuid), content)

    def remove(self, uuid: UUID) -> None:
        """Forget the anchor of an instance that is gone."""
        remove_file(self._fd, _name(uuid))


def _name(uuid: UUID) -> str:
    return f"{uuid}.json"


def _encode(mark: Mark) -> dict[str, object]:
    return {"branch": mark.branch.hex(), "epoch": mark.epoch, "generation": mark.generation}


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < _MAX_COUNT


def _decode(content: Any) -> Mark:
    counts = content["epoch"], content["generation"]
    branch = bytes.fromhex(content["branch"])
    if len(branch) != BRANCH_SIZE or not all(map(_is_count, counts)):
        raise ValueError("no state of a TPM")
    return Mark(branch, *counts)

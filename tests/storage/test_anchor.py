"""Anchors: which state follows which, and what a file may hold."""

import json
from pathlib import Path
from uuid import UUID

import pytest

from vtpmd.storage.anchor import Anchor, Directory
from vtpmd.storage.errors import StorageError
from vtpmd.storage.mark import Mark

ONE, OTHER = b"1" * 16, b"2" * 16
HERE = UUID(int=1)


@pytest.mark.parametrize(
    ("state", "age", "follows"),
    [
        (Mark(ONE, 3, 7), "same", True),
        (Mark(ONE, 3, 8), "newer", True),
        (Mark(ONE, 4, 1), "newer", True),
        (Mark(ONE, 3, 6), "older", False),
        (Mark(ONE, 2, 9), "older", False),
        (Mark(OTHER, 3, 9), "other", False),
        (Mark(OTHER, 2, 9), "other", False),
        (Mark(OTHER, 4, 1), "other", True),
    ],
)
def test_which_state_follows_which(state: Mark, age: str, follows: bool) -> None:
    newest = Mark(ONE, 3, 7)
    assert (state.age(newest), state.follows(newest)) == (age, follows)


def test_what_is_the_newest_ends_what_was_accepted_and_not_what_is_told() -> None:
    anchor = Anchor(Mark(ONE, 0, 9)).accepting(Mark(ONE, 0, 3), "turned back")
    assert anchor.newest == Mark(ONE, 0, 9)
    later = anchor.at(Mark(OTHER, 1, 4))
    assert (later.newest, later.accepted, later.told) == (Mark(OTHER, 1, 4), None, "turned back")


def test_anchors_are_kept_by_instance(tmp_path: Path) -> None:
    directory = Directory(tmp_path / "deep/anchors")
    try:
        assert directory.read(HERE) is None
        anchor = Anchor(Mark(ONE, 1, 2))
        directory.write(HERE, anchor)
        assert (directory.read(HERE), directory.read(UUID(int=2))) == (anchor, None)
        directory.remove(HERE)
        directory.remove(HERE)
        assert directory.read(HERE) is None
    finally:
        directory.close()


def test_what_could_not_be_read_again_does_not_take_the_place_of_what_can(tmp_path: Path) -> None:
    """A header that nobody has authenticated yet says what it likes."""
    directory = Directory(tmp_path / "anchors")
    try:
        directory.write(HERE, Anchor(Mark(ONE, 1, 2)))
        with pytest.raises(StorageError) as caught:
            directory.write(HERE, Anchor(Mark(OTHER, (1 << 64) - 1, 3)))
        assert caught.value.kind == "unsafe"
        found = directory.read(HERE)
        assert found is not None
        assert found.newest == Mark(ONE, 1, 2)
    finally:
        directory.close()


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"format": True},
        {"newest": None},
        {"newest": {"branch": "00", "epoch": 0, "generation": 0}},
        {"newest": {"branch": "00" * 16, "epoch": -1, "generation": 0}},
        {"newest": {"branch": "00" * 16, "epoch": 0, "generation": 1.0}},
        {"seen": "2026-01-01T00:00:00"},
        {"seen": 3},
        {"seen": "0001-01-01T00:00:00+01:00"},
        {"newest": {"branch": "00" * 16, "epoch": (1 << 64) - 1, "generation": 0}},
        {"accepted": 3},
        {"told": "\x1b[2J"},
        {"told": None},
    ],
    ids=str,
)
def test_what_was_never_written_is_refused(change: dict[str, object]) -> None:
    content = json.loads(Anchor(Mark(ONE, 1, 2)).encode())
    with pytest.raises(StorageError) as caught:
        Anchor.decode(json.dumps(content | change).encode())
    assert caught.value.kind == "unsafe"

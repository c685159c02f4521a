"""The version of the protocol between our processes grows with what it sends."""

from itertools import pairwise
from pathlib import Path

import pytest

from tests.compat import protocol
from vtpmd.ipc.version import PROTOCOL

CHANGED = (
    "What is sent has changed. From the tag 0.2.0 on, raise the version in vtpmd/ipc/version.py; "
    "then, or before it, run python -m tests.compat.samples."
)


def test_what_is_sent_is_what_its_version_says() -> None:
    assert protocol.versions()[-1] == PROTOCOL, CHANGED
    assert protocol.described() == protocol.read(PROTOCOL), CHANGED


def test_every_type_that_is_sent_is_written_down() -> None:
    lines = protocol.read(PROTOCOL).splitlines()
    for expected in (
        "Serve: by supervisor in new then starting, 6 or 7 or 9 or 10 descriptors",
        "Serve.key: Key",
        "Serve.startup: bool = False",
        "Key.dek: bytearray",
        "Key.slots: tuple[Slot, ...]",
        "Slot.provider: str",
        "Ready.sandbox: dict[str, str] = {}",
        "Failed.kind: word",
        "Failed.kind: 'wrong-instance'",
    ):
        assert expected in lines


def test_a_minor_version_has_all_that_the_one_before_has() -> None:
    for earlier, later in pairwise(protocol.versions()):
        if later.major == earlier.major:
            lines = [set(protocol.read(each).splitlines()) for each in (earlier, later)]
            assert lines[0] <= lines[1], f"{later} takes something away: raise the major number"


def test_what_is_fixed_is_not_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "WRITTEN", tmp_path)
    for binding, expected in ((True, "made"), (True, "kept"), (False, "made")):
        monkeypatch.setattr(protocol, "BINDING", binding)
        protocol.write()
        written = protocol.read(PROTOCOL)
        assert written == (protocol.described() if expected == "made" else "changed")
        (tmp_path / f"{PROTOCOL}.txt").write_text("changed")

"""What is immortal is never counted again."""

import subprocess
import sys

import pytest

from vtpmd.worker import immortal

SCRIPT = """
import sys
from vtpmd.worker import immortal

class Held:
    pass

held = Held()
immortal.immortalise()
before = sys.getrefcount(held), sys.getrefcount(Held), sys.getrefcount(immortal)
more = [(held, Held, immortal)] * 10
assert before == (sys.getrefcount(held), sys.getrefcount(Held), sys.getrefcount(immortal))
later = Held()
assert sys.getrefcount(later) < 5
"""


@pytest.mark.skipif(not immortal.supported(), reason="this interpreter counts all references")
def test_references_to_what_is_reachable_are_not_counted() -> None:
    subprocess.run([sys.executable, "-c", SCRIPT], check=True, timeout=60)


def test_only_interpreters_whose_way_is_known_are_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    assert immortal.supported() is (sys.version_info[:2] in ((3, 12), (3, 13)))
    monkeypatch.setattr(sys, "version_info", (3, 14, 0))
    assert not immortal.supported()

"""Merging of memory: where the kernel has it, where it has not, and who inherits it."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vtpmd.linux import kernel, merging

_SCRIPT = """
import os
from pathlib import Path
from vtpmd.linux import merging
print(Path("/proc/self/ksm_stat").read_text())
merging.permit()
if os.fork() == 0:
    print(Path("/proc/self/ksm_stat").read_text(), flush=True)
    os._exit(0)
os.wait()
"""


def _supported() -> bool:
    try:
        merging.demand()
    except OSError:
        return False
    return "ksm_merge_any" in Path("/proc/self/ksm_stat").read_text()


@pytest.mark.skipif(not _supported(), reason="this kernel does not tell whose memory it may merge")
def test_a_process_that_permits_it_hands_it_down() -> None:
    done = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, check=True)
    before, _, after = done.stdout.decode().partition("ksm_merge_any: no")
    assert "ksm_merge_any" not in before
    assert "ksm_merge_any: yes" in after


def test_a_kernel_without_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(option: int, argument: int = 0) -> int:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(merging, "prctl", refuse)
    with pytest.raises(OSError, match=r"takes Linux 6\.4, built with KSM"):
        merging.demand()


def test_whether_it_goes_on_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(merging, "_RUN", tmp_path / "run")
    assert not merging.goes_on()
    for text, answer in (("0\n", False), ("1\n", True), ("2\n", False)):
        (tmp_path / "run").write_text(text)
        assert merging.goes_on() is answer


def test_nothing_is_merged_unasked() -> None:
    if _supported():
        assert kernel.prctl(68) == 0

"""The process that uses a TPM, whatever a worker says of it."""

from uuid import UUID

import pytest

from vtpmd.ipc.messages import NO_NUMBER, StatusReply
from vtpmd.ipc.rules import CODEC
from vtpmd.supervisor.machines import process


@pytest.mark.parametrize(
    ("said", "wanted"), [(0, 0), (4711, 4711), (NO_NUMBER, -1), ((1 << 63) - 1, -1)]
)
def test_a_process(said: int, wanted: int) -> None:
    assert process(said) == wanted


def test_a_report_about_a_process_elsewhere_arrives() -> None:
    """Its worker would be ended for one that can't be read."""
    report = StatusReply(UUID(int=1), "web1", machine=NO_NUMBER)
    assert CODEC.decode(CODEC.encode(report)) == report

"""PCRs where commands would take too long to get to."""

import hashlib

from vtpmd.tpm.core import clock, pcrs
from vtpmd.tpm.state import Tpm
from vtpmd.tpm.wire.constants import ALG

_MAX = 0xFFFFFFFF


def test_counters_of_events_start_over(tpm: Tpm) -> None:
    """As many D-RTM events as a guest has the patience for do no harm."""
    pcrs.start(tpm, resume=False, locality=0)
    tpm.volatile.started = True
    tpm.reset.restart_count = tpm.reset.pcr_update_counter = _MAX
    measured = hashlib.sha256(b"event").digest()
    pcrs.measure_event(tpm, {ALG.SHA256: measured})
    info = clock.clock_info(tpm)
    assert (info.restart_count, tpm.reset.pcr_update_counter) == (0, 0)
    assert info.marshal()[12:16] == bytes(4)
    expected = hashlib.sha256(bytes(32) + measured).digest()
    assert tpm.volatile.pcrs[ALG.SHA256][pcrs.DRTM] == expected

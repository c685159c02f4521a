"""From events to PCR values (Part 1, 17.2), and which PCRs differ from a TPM's."""

from collections.abc import Iterable
from typing import Final

from vtpmd.tpm.crypto.hashes import HASHES, new
from vtpmd.tpm.wire.limits import IMPLEMENTATION_PCR

from ..pcrs import PcrValues
from .log import Log

_DYNAMIC: Final = range(17, 23)
"""PCRs that are all ones until there has been a dynamic launch, whose events begin at zero."""


def replay(log: Log, algs: Iterable[int]) -> PcrValues:
    """The values of all PCRs after the log's events, in those of these banks that it has."""
    return {alg: _bank(log, alg) for alg in algs if alg in log.banks and alg in HASHES}


def _bank(log: Log, alg: int) -> dict[int, bytes]:
    size = log.banks[alg]
    values = {index: bytes(size) for index in range(IMPLEMENTATION_PCR)}
    values[0] = log.startup_locality.to_bytes(size)
    touched = set()
    for event in log.events:
        if event.measured:
            touched.add(event.pcr)
            running = new(alg)
            running.update(values[event.pcr])
            running.update(event.digests[alg])
            values[event.pcr] = running.digest()
    return values | {index: b"\xff" * size for index in _DYNAMIC if index not in touched}

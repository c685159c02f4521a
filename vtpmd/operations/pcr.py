"""PCR: the PCR values of a running TPM."""

from vtpmd.api.schema import Digests
from vtpmd.supervisor.fleet import Fleet


async def pcr(fleet: Fleet, name: str) -> Digests:
    """All banks of a running TPM. Raises OperationError."""
    pcrs = await fleet.find(name).pcrs()
    return Digests(
        banks={
            bank: {index: digest.hex() for index, digest in sorted(digests.items())}
            for bank, digests in pcrs.banks.items()
        }
    )

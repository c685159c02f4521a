"""What a quote says: its message, read after its signature has been verified (Part 2, 10.11.12)."""

from dataclasses import dataclass
from typing import Final

from vtpmd.tpm.crypto.hashes import digest
from vtpmd.tpm.rc import TpmError
from vtpmd.tpm.wire.attest import TPMS_ATTEST, TPMS_CLOCK_INFO, TPMS_QUOTE_INFO
from vtpmd.tpm.wire.base import TPMS_PCR_SELECTION
from vtpmd.tpm.wire.limits import MAX_ATTEST_SIZE

from .allowed import ACCEPTED, bank_name
from .errors import MalformedError
from .pcrs import PcrValues, Selection

MAX_SIZE: Final = MAX_ATTEST_SIZE + 2

for _structure in TPMS_ATTEST, TPMS_CLOCK_INFO, TPMS_QUOTE_INFO, TPMS_PCR_SELECTION:
    _structure.compiled_reader({})  # now, and not while the first quote is judged


@dataclass(frozen=True)
class Quote:
    """A TPMS_ATTEST of TPM2_Quote, as far as anybody judges it."""

    nonce: bytes
    selection: Selection
    pcr_digest: bytes
    clock: int
    """Milliseconds."""
    reset_count: int
    restart_count: int
    safe: bool
    firmware_version: int


def signed_octets(message: bytes) -> bytes:
    """What is signed: the whole file, or what a TPM2B_ATTEST holds."""
    if int.from_bytes(message[:2]) == len(message) - 2:
        return message[2:]
    return message


def parse_quote(signed: bytes) -> Quote:
    """The quote in these octets, all of which it is. Raises MalformedError."""
    try:
        attest = TPMS_ATTEST.parse(signed, ACCEPTED)
    except TpmError as error:
        raise MalformedError(f"no TPMS_ATTEST that a TPM has made: {error}") from None
    attested = attest.attested
    if not isinstance(attested, TPMS_QUOTE_INFO):
        raise MalformedError("it attests something else than a quote")
    clock = attest.clock_info
    return Quote(
        nonce=attest.extra_data,
        selection=tuple((each.hash, _indices(each.pcr_select)) for each in attested.pcr_select),
        pcr_digest=attested.pcr_digest,
        clock=clock.clock,
        reset_count=clock.reset_count,
        restart_count=clock.restart_count,
        safe=bool(clock.safe),
        firmware_version=attest.firmware_version,
    )


def _indices(octets: bytes) -> tuple[int, ...]:
    return tuple(
        8 * at + bit for at, octet in enumerate(octets) for bit in range(8) if octet >> bit & 1
    )


def missing_values(selection: Selection, values: PcrValues) -> list[str]:
    """The selected PCRs that have no value."""
    return [
        f"{bank_name(alg)}:{index}"
        for alg, indices in selection
        for index in indices
        if index not in values.get(alg, {})
    ]


def pcr_digest(selection: Selection, values: PcrValues, alg: int) -> bytes:
    """The digest over the selected values, with the hash of the signature (Part 1, 17.5)."""
    return digest(alg, *(values[bank][index] for bank, indices in selection for index in indices))

"""Part 3, chapter 16: Random Number Generator."""

from ..command import command
from ..crypto.hashes import digest
from ..state import Tpm
from ..wire.algorithms import TPM2B_SENSITIVE_DATA
from ..wire.base import TPM2B_DIGEST
from ..wire.constants import ALG, CC
from ..wire.interface import UINT16
from ..wire.limits import MAX_DIGEST_SIZE
from ..wire.structure import Structure


class GetRandomResponse(Structure):
    random_bytes: TPM2B_DIGEST


@command(CC.GET_RANDOM, keeps_orderly=True)
def get_random(tpm: Tpm, /, bytes_requested: UINT16) -> GetRandomResponse:
    """Return random octets, at most as many as a TPM2B_DIGEST holds (16.1)."""
    return GetRandomResponse(tpm.random(min(bytes_requested, MAX_DIGEST_SIZE)))


@command(CC.STIR_RANDOM, nv=True)
def stir_random(tpm: Tpm, /, in_data: TPM2B_SENSITIVE_DATA) -> None:
    """Add the caller's entropy to the generator (16.2)."""
    tpm.stir_pool = digest(ALG.SHA512, tpm.stir_pool, in_data)

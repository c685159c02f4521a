"""Platform configuration registers (Part 1, clause 14; PC Client platform TPM profile, 3.7)."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from ..crypto.hashes import digest, digest_size
from ..rc import RC, TpmError
from ..state import PCR_COUNT, Pcr, Tpm
from ..wire.base import TPMS_PCR_SELECTION, TPMT_HA

SELECT_SIZE = PCR_COUNT // 8
ALL = (1 << PCR_COUNT) - 1
HCRTM = 0
DRTM = 17
RTM_LOCALITY = 4
"""Where events of the H-CRTM and of the D-RTM come from."""
_LOCALITY_4 = 1 << RTM_LOCALITY


@dataclass(frozen=True, slots=True)
class Attributes:
    """How a PCR can be used; in the bitmaps of localities, bit n is for locality n."""

    saved: bool
    """Preserved by TPM2_Shutdown(STATE)."""
    reset: int
    extend: int
    counted: bool = True
    """A change of it increments pcrUpdateCounter."""
    authorized: bool = False
    """It has an authValue and an authPolicy, those of all such PCRs (as in libtpms)."""

    @property
    def dynamic(self) -> bool:
        """A D-RTM event resets it; before the first one it is all ones."""
        return bool(self.reset & _LOCALITY_4)


_STATIC = Attributes(saved=True, reset=0, extend=0b11111)
_RESETTABLE = Attributes(saved=False, reset=0b01111, extend=0b11111, counted=False)
ATTRIBUTES: tuple[Attributes, ...] = (
    *[_STATIC] * 16,
    _RESETTABLE,  # 16, debug
    Attributes(saved=False, reset=0b10000, extend=0b11100),
    Attributes(saved=False, reset=0b10000, extend=0b11100),
    Attributes(saved=False, reset=0b10000, extend=0b01100),
    Attributes(saved=False, reset=0b10100, extend=0b01110, authorized=True),
    Attributes(saved=False, reset=0b10100, extend=0b00100, counted=False, authorized=True),
    Attributes(saved=False, reset=0b10100, extend=0b00100, counted=False, authorized=True),
    _RESETTABLE,  # 23, applications
)


def entity(tpm: Tpm, pcr: int) -> Pcr:
    """A PCR as an entity that a command refers to."""
    plain = _PLAIN.get(pcr)
    if plain is not None:
        return plain
    permanent = tpm.permanent
    return Pcr(pcr, tpm.clear.pcr_auth_value, permanent.pcr_policy_alg, permanent.pcr_policy)


_PLAIN = {pcr: Pcr(pcr) for pcr in range(PCR_COUNT) if not ATTRIBUTES[pcr].authorized}
"""Nothing of these ever changes."""


def is_allocated(tpm: Tpm, bank: int, pcr: int) -> bool:
    """Whether a bank has this PCR."""
    return bool(tpm.permanent.pcr_allocation.get(bank, 0) >> pcr & 1)


def start(tpm: Tpm, *, resume: bool, locality: int) -> None:
    """Give every PCR its value at TPM2_Startup (Part 1, 14.1; PC Client profile, 3.7.2).

    PCR 0 keeps an H-CRTM measurement; otherwise it holds the locality of the TPM2_Startup.
    """
    for bank in tpm.permanent.pcr_allocation:
        values = _values(tpm, bank)
        saved = tpm.clear.pcr_saved.get(bank, {}) if resume else {}
        for pcr in range(PCR_COUNT):
            if pcr in saved:
                values[pcr] = saved[pcr]
            elif pcr != HCRTM or not tpm.volatile.h_crtm:
                values[pcr] = _initial_value(pcr, digest_size(bank), locality)
    tpm.clear.pcr_saved = {}
    for pcr, attributes in enumerate(ATTRIBUTES):
        if not (resume and attributes.saved):
            count_change(tpm, pcr)


def _initial_value(pcr: int, size: int, locality: int) -> bytes:
    if ATTRIBUTES[pcr].dynamic:
        return b"\xff" * size
    return locality.to_bytes(size) if pcr == HCRTM else bytes(size)


def _values(tpm: Tpm, bank: int) -> list[bytes]:
    """The values of a bank, zeros at first."""
    return tpm.volatile.pcrs.setdefault(bank, [bytes(digest_size(bank))] * PCR_COUNT)


def save(tpm: Tpm) -> None:
    """Keep what TPM2_Shutdown(STATE) preserves."""
    tpm.clear.pcr_saved = {
        bank: {pcr: values[pcr] for pcr in range(PCR_COUNT) if ATTRIBUTES[pcr].saved}
        for bank, values in tpm.volatile.pcrs.items()
    }


def require_extendable(tpm: Tpm, pcr: Pcr | None) -> None:
    """Raise RC.LOCALITY if the locality of the command in flight may not extend this PCR."""
    if pcr is not None and not ATTRIBUTES[pcr.handle].extend >> tpm.locality & 1:
        raise TpmError(RC.LOCALITY)


def reset_allowed(tpm: Tpm, pcr: int) -> bool:
    """Whether the locality of the command in flight may reset a PCR.

    Locality 4 may not, as in libtpms: its resets are done by a D-RTM event.
    """
    if tpm.locality == RTM_LOCALITY:
        return False
    return bool(ATTRIBUTES[pcr].reset >> tpm.locality & 1)


def extend(tpm: Tpm, pcr: Pcr | None, measured: Iterable[TPMT_HA]) -> None:
    """PCR = H(PCR || digest), in the bank of each digest; banks without this PCR are skipped."""
    if pcr is None:
        return
    number = pcr.handle
    for entry in measured:
        if is_allocated(tpm, entry.hash_alg, number):
            values = tpm.volatile.pcrs[entry.hash_alg]
            values[number] = digest(entry.hash_alg, values[number], entry.digest)
            count_change(tpm, number)


def count_change(tpm: Tpm, pcr: int) -> None:
    """Record that a PCR has changed, which voids policies that checked PCRs before."""
    if ATTRIBUTES[pcr].counted:
        tpm.reset.pcr_update_counter = (tpm.reset.pcr_update_counter + 1) & 0xFFFFFFFF


def reset(tpm: Tpm, pcr: int) -> None:
    """Set a PCR to zero in every bank."""
    _set_zero(tpm, pcr)
    count_change(tpm, pcr)


def _set_zero(tpm: Tpm, pcr: int) -> None:
    for bank, values in tpm.volatile.pcrs.items():
        if is_allocated(tpm, bank, pcr):
            values[pcr] = bytes(digest_size(bank))


def measure_event(tpm: Tpm, digests: dict[int, bytes]) -> None:
    """Extend a PCR with the data between _TPM_Hash_Start and _TPM_Hash_End (Part 3, 22.11).

    After TPM2_Startup that is a D-RTM event, before it an H-CRTM event.
    """
    if tpm.volatile.started:
        _measure_d_rtm(tpm, digests)
    else:
        _measure_h_crtm(tpm, digests)


def _measure_d_rtm(tpm: Tpm, digests: dict[int, bytes]) -> None:
    for pcr, attributes in enumerate(ATTRIBUTES):
        if attributes.dynamic:
            _set_zero(tpm, pcr)
    tpm.reset.restart_count = (tpm.reset.restart_count + 1) & 0xFFFFFFFF
    extend(tpm, entity(tpm, DRTM), [TPMT_HA(bank, value) for bank, value in digests.items()])


def _measure_h_crtm(tpm: Tpm, digests: dict[int, bytes]) -> None:
    """Reset PCR 0; `start` counts that after it has restored pcrUpdateCounter."""
    for bank, measured in digests.items():
        initial = RTM_LOCALITY.to_bytes(digest_size(bank))
        _values(tpm, bank)[HCRTM] = digest(bank, initial, measured)
    tpm.volatile.h_crtm = True


def narrow(tpm: Tpm, selection: TPMS_PCR_SELECTION, limit: int = PCR_COUNT) -> list[bytes]:
    """The values of the first `limit` PCRs of a selection that exist; it keeps only these."""
    bank = selection.hash
    allocated = tpm.permanent.pcr_allocation.get(bank, 0)
    pcrs, selection.pcr_select = _narrowed(selection.pcr_select, allocated, limit)
    if not pcrs:
        return []
    values = tpm.volatile.pcrs[bank]
    return list(map(values.__getitem__, pcrs))


# A machine asks for the same few selections again and again.
@lru_cache(maxsize=32)
def _narrowed(pcr_select: bytes, allocated: int, limit: int) -> tuple[tuple[int, ...], bytes]:
    bits = int.from_bytes(pcr_select, "little") & allocated
    pcrs = tuple(pcr for pcr in range(bits.bit_length()) if bits >> pcr & 1)[:limit]
    return pcrs, sum(1 << pcr for pcr in pcrs).to_bytes(len(pcr_select), "little")


def selection_digest(
    tpm: Tpm, hash_alg: int, selections: list[TPMS_PCR_SELECTION]
) -> tuple[bytes, list[TPMS_PCR_SELECTION]]:
    """pcrDigest (Part 1, 14.5), and the selections, narrowed to the PCRs that exist."""
    values = [value for selection in selections for value in narrow(tpm, selection)]
    return digest(hash_alg, *values), selections


def banks(tpm: Tpm) -> list[int]:
    """The banks that have at least one PCR."""
    return [bank for bank, allocated in tpm.permanent.pcr_allocation.items() if allocated]

"""TPM properties (Part 2, 6.13) and the properties of algorithms (10.7.1) and PCRs (6.14)."""

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator
from typing import Final

from ..crypto.hashes import HASHES
from ..crypto.symmetric import CIPHERS
from ..profile import MESSAGE_SIGNING_VERSION, PROFILES, Profile
from ..state import (
    MAX_ACTIVE_SESSIONS,
    MAX_LOADED_OBJECTS,
    MAX_LOADED_SESSIONS,
    PCR_COUNT,
    Tpm,
)
from ..wire import limits
from ..wire.attributes import (
    TPMA_ALGORITHM,
    TPMA_CC,
    TPMA_MEMORY,
    TPMA_ML_PARAMETER_SET,
    TPMA_PERMANENT,
    TPMA_STARTUP_CLEAR,
)
from ..wire.constants import (
    ALG,
    PS,
    PT,
    PT_PCR,
    SPEC_ERRATA,
    SPEC_FAMILY,
    SPEC_LEVEL,
    SPEC_VERSION,
    SPEC_YEAR,
)
from . import commitments, dictionary_attack, nv, nv_space, pcrs, power, tickets

_ASYMMETRIC, _SYMMETRIC = TPMA_ALGORITHM.ASYMMETRIC, TPMA_ALGORITHM.SYMMETRIC
_HASH, _OBJECT = TPMA_ALGORITHM.HASH, TPMA_ALGORITHM.OBJECT
_SIGNING, _ENCRYPTING = TPMA_ALGORITHM.SIGNING, TPMA_ALGORITHM.ENCRYPTING
_METHOD = TPMA_ALGORITHM.METHOD

ALGORITHM_ATTRIBUTES: Final[dict[int, int]] = {
    **dict.fromkeys(HASHES, _HASH),
    **dict.fromkeys(CIPHERS, _SYMMETRIC),
    ALG.RSA: _ASYMMETRIC | _OBJECT,
    ALG.HMAC: _HASH | _SIGNING,
    ALG.MGF1: _HASH | _METHOD,
    ALG.KEYEDHASH: _HASH | _OBJECT | _SIGNING | _ENCRYPTING,
    ALG.XOR: _HASH | _SYMMETRIC,
    ALG.RSASSA: _ASYMMETRIC | _SIGNING,
    ALG.RSAES: _ASYMMETRIC | _ENCRYPTING,
    ALG.RSAPSS: _ASYMMETRIC | _SIGNING,
    ALG.OAEP: _ASYMMETRIC | _ENCRYPTING,
    ALG.ECDSA: _ASYMMETRIC | _SIGNING,
    ALG.ECDH: _ASYMMETRIC | _METHOD,
    ALG.ECDAA: _ASYMMETRIC | _SIGNING,
    ALG.ECSCHNORR: _ASYMMETRIC | _SIGNING,
    ALG.EDDSA: _ASYMMETRIC | _SIGNING,
    ALG.HASH_EDDSA: _ASYMMETRIC | _SIGNING,
    ALG.KDF1_SP800_56A: _HASH | _METHOD,
    ALG.KDF2: _HASH | _METHOD,
    ALG.KDF1_SP800_108: _HASH | _METHOD,
    ALG.ECC: _ASYMMETRIC | _OBJECT,
    ALG.MLKEM: _ASYMMETRIC | _OBJECT | _ENCRYPTING,
    ALG.MLDSA: _ASYMMETRIC | _OBJECT | _SIGNING,
    ALG.HASH_MLDSA: _ASYMMETRIC | _OBJECT | _SIGNING,
    ALG.HKDF: _HASH | _METHOD,
    ALG.SYMCIPHER: _OBJECT,
    ALG.CMAC: _SYMMETRIC | _SIGNING,
    ALG.CTR: _SYMMETRIC | _ENCRYPTING,
    ALG.OFB: _SYMMETRIC | _ENCRYPTING,
    ALG.CBC: _SYMMETRIC | _ENCRYPTING,
    ALG.CFB: _SYMMETRIC | _ENCRYPTING,
    ALG.ECB: _SYMMETRIC | _ENCRYPTING,
}
"""TPMA_ALGORITHM of everything that a profile can have."""

if _without := {alg for profile in PROFILES.values() for alg in profile.algorithms}.difference(
    ALGORITHM_ATTRIBUTES
):
    raise ImportError(f"profiles name algorithms that have no attributes: {sorted(_without)}")

MANUFACTURER: Final = b"VTPM"
FIRMWARE_VERSION: Final = (0x00010000, 0x00000000)
"""TPM_PT_FIRMWARE_VERSION_1 and _2: part of every attestation, so change them with care."""

_NO_GAP_LIMIT: Final = 0xFFFFFFFF
_GROUP: Final = 0x100
"""PT_GROUP: how many tags a group of properties has."""


def _text(four: bytes) -> int:
    return int.from_bytes(four.ljust(4, b"\0"))


_FIXED: Final[dict[int, int]] = {
    PT.FAMILY_INDICATOR: SPEC_FAMILY,
    PT.LEVEL: SPEC_LEVEL,
    PT.REVISION: SPEC_VERSION,
    PT.ERRATA: SPEC_ERRATA,
    PT.YEAR: SPEC_YEAR,
    PT.MANUFACTURER: _text(MANUFACTURER),
    PT.VENDOR_STRING_1: _text(b"vtpm"),
    PT.VENDOR_STRING_2: _text(b"d"),
    PT.VENDOR_STRING_3: 0,
    PT.VENDOR_STRING_4: 0,
    PT.VENDOR_TPM_TYPE: 1,
    PT.FIRMWARE_VERSION_1: FIRMWARE_VERSION[0],
    PT.FIRMWARE_VERSION_2: FIRMWARE_VERSION[1],
    PT.INPUT_BUFFER: limits.MAX_2B_BUFFER_SIZE,
    PT.HR_TRANSIENT_MIN: MAX_LOADED_OBJECTS,
    PT.HR_PERSISTENT_MIN: nv_space.MIN_PERSISTENT_OBJECTS,
    PT.HR_LOADED_MIN: MAX_LOADED_SESSIONS,
    PT.ACTIVE_SESSIONS_MAX: MAX_ACTIVE_SESSIONS,
    PT.PCR_COUNT: PCR_COUNT,
    PT.PCR_SELECT_MIN: limits.PCR_SELECT_MIN,
    PT.CONTEXT_GAP_MAX: _NO_GAP_LIMIT,
    PT.NV_COUNTERS_MAX: 0,
    PT.NV_INDEX_MAX: limits.MAX_NV_INDEX_SIZE,
    PT.MEMORY: TPMA_MEMORY.SHARED_NV,
    PT.CLOCK_UPDATE: power.CLOCK_UPDATE_INTERVAL,
    PT.CONTEXT_HASH: tickets.CONTEXT_HASH,
    PT.CONTEXT_SYM: ALG.AES,
    PT.CONTEXT_SYM_SIZE: 256,
    PT.ORDERLY_COUNT: nv.MAX_ORDERLY_COUNT,
    PT.MAX_DIGEST: limits.MAX_DIGEST_SIZE,
    PT.MAX_SESSION_CONTEXT: limits.MAX_CONTEXT_SIZE,
    PT.PS_FAMILY_INDICATOR: PS.PC,
    PT.PS_LEVEL: 0,
    PT.PS_REVISION: 0x105,
    PT.PS_DAY_OF_YEAR: 0,
    PT.PS_YEAR: 0,
    PT.SPLIT_MAX: commitments.WINDOW,
    PT.NV_BUFFER_MAX: limits.MAX_NV_BUFFER_SIZE,
    PT.MODES: 0,
    PT.MAX_CAP_BUFFER: limits.MAX_CAP_BUFFER,
}


def _permanent(tpm: Tpm) -> int:
    permanent = tpm.permanent
    return (
        (TPMA_PERMANENT.OWNER_AUTH_SET if permanent.owner.auth_value else 0)
        | (TPMA_PERMANENT.ENDORSEMENT_AUTH_SET if permanent.endorsement.auth_value else 0)
        | (TPMA_PERMANENT.LOCKOUT_AUTH_SET if permanent.lockout.auth_value else 0)
        | (TPMA_PERMANENT.DISABLE_CLEAR if permanent.disable_clear else 0)
        | (TPMA_PERMANENT.IN_LOCKOUT if dictionary_attack.in_lockout(tpm) else 0)
        | TPMA_PERMANENT.TPM_GENERATED_EPS
    )


def _startup_clear(tpm: Tpm) -> int:
    return (
        (TPMA_STARTUP_CLEAR.PH_ENABLE if tpm.volatile.platform_enabled else 0)
        | (TPMA_STARTUP_CLEAR.SH_ENABLE if tpm.clear.owner_enabled else 0)
        | (TPMA_STARTUP_CLEAR.EH_ENABLE if tpm.clear.endorsement_enabled else 0)
        | (TPMA_STARTUP_CLEAR.PH_ENABLE_NV if tpm.clear.platform_nv_enabled else 0)
        | (TPMA_STARTUP_CLEAR.READ_ONLY if tpm.clear.read_only else 0)
        | (TPMA_STARTUP_CLEAR.ORDERLY if tpm.volatile.started_orderly else 0)
    )


def _parameter_sets(profile: Profile) -> int:
    """TPMA_ML_PARAMETER_SET; each set has the bit with its number in its algorithm's part."""
    kems = sum(TPMA_ML_PARAMETER_SET.MLKEM_512 << parms - 1 for parms in profile.mlkem_parms)
    signing = sum(TPMA_ML_PARAMETER_SET.MLDSA_44 << parms - 1 for parms in profile.mldsa_parms)
    external_mu = TPMA_ML_PARAMETER_SET.EXT_MU if ALG.MLDSA in profile.algorithms else 0
    return kems | signing | external_mu


def _active_sessions(tpm: Tpm) -> int:
    return len({*tpm.volatile.sessions, *tpm.reset.saved_sessions})


_VARIABLE: Final[dict[int, Callable[[Tpm], int]]] = {
    PT.MAX_COMMAND_SIZE: lambda tpm: tpm.buffer_size,
    PT.MAX_RESPONSE_SIZE: lambda tpm: tpm.buffer_size,
    PT.MAX_OBJECT_CONTEXT: lambda tpm: tpm.profile.max_context_size,
    PT.ML_PARAMETER_SETS: lambda tpm: _parameter_sets(tpm.profile),
    PT.PERMANENT: _permanent,
    PT.STARTUP_CLEAR: _startup_clear,
    PT.HR_NV_INDEX: lambda tpm: len(tpm.permanent.nv),
    PT.HR_LOADED: lambda tpm: len(tpm.volatile.sessions),
    PT.HR_LOADED_AVAIL: lambda tpm: MAX_LOADED_SESSIONS - len(tpm.volatile.sessions),
    PT.HR_ACTIVE: _active_sessions,
    PT.HR_ACTIVE_AVAIL: lambda tpm: MAX_ACTIVE_SESSIONS - _active_sessions(tpm),
    PT.HR_TRANSIENT_AVAIL: lambda tpm: MAX_LOADED_OBJECTS - len(tpm.volatile.objects),
    PT.HR_PERSISTENT: lambda tpm: len(tpm.permanent.objects),
    PT.HR_PERSISTENT_AVAIL: nv_space.objects_available,
    PT.NV_COUNTERS: nv_space.counters,
    PT.NV_COUNTERS_AVAIL: nv_space.counters_available,
    PT.ALGORITHM_SET: lambda tpm: tpm.permanent.algorithm_set,
    PT.LOADED_CURVES: lambda tpm: len(tpm.profile.ecc_curves),
    PT.LOCKOUT_COUNTER: lambda tpm: tpm.permanent.dictionary_attack.failed_tries,
    PT.MAX_AUTH_FAIL: lambda tpm: tpm.permanent.dictionary_attack.max_tries,
    PT.LOCKOUT_INTERVAL: lambda tpm: tpm.permanent.dictionary_attack.recovery_time,
    PT.LOCKOUT_RECOVERY: lambda tpm: tpm.permanent.dictionary_attack.lockout_recovery,
    PT.NV_WRITE_RECOVERY: lambda tpm: 0,
    PT.AUDIT_COUNTER_0: lambda tpm: tpm.permanent.audit_counter >> 32,
    PT.AUDIT_COUNTER_1: lambda tpm: tpm.permanent.audit_counter & 0xFFFFFFFF,
}


_COUNTS_OF_COMMANDS: Final[dict[int, Callable[[int], bool]]] = {
    PT.TOTAL_COMMANDS: lambda attributes: True,
    PT.LIBRARY_COMMANDS: lambda attributes: not attributes & TPMA_CC.V,
    PT.VENDOR_COMMANDS: lambda attributes: bool(attributes & TPMA_CC.V),
}
_TAGS: Final = tuple(sorted(map(int, {*_FIXED, *_VARIABLE, *_COUNTS_OF_COMMANDS})))


def tpm_properties(tpm: Tpm, commands: Collection[int], first: int) -> Iterator[tuple[int, int]]:
    """The TPM properties from the tag `first` on with their current values.

    Only those of the same group (30.2); the first group stands for the one before it, which is
    empty. `commands` are the TPMA_CC of those that are implemented.
    """
    group = max(first // _GROUP, 1)
    end = bisect_left(_TAGS, (group + 1) * _GROUP)
    for tag in _TAGS[bisect_left(_TAGS, first) : end]:
        if tag == PT.ML_PARAMETER_SETS and tpm.profile.version < MESSAGE_SIGNING_VERSION:
            continue
        if tag in _VARIABLE:
            yield tag, _VARIABLE[tag](tpm)
        elif tag in _COUNTS_OF_COMMANDS:
            yield tag, sum(map(_COUNTS_OF_COMMANDS[tag], commands))
        else:
            yield tag, int(_FIXED[tag])


def algorithm_properties(profile: Profile) -> list[tuple[int, int]]:
    """Every algorithm of a profile with its TPMA_ALGORITHM, in order."""
    return sorted((int(alg), ALGORITHM_ATTRIBUTES[alg]) for alg in profile.algorithms)


_Holds = Callable[[pcrs.Attributes], bool]


def _extends_at(locality: int) -> _Holds:
    return lambda pcr: bool(pcr.extend >> locality & 1)


def _resets_at(locality: int) -> _Holds:
    return lambda pcr: bool(pcr.reset >> locality & 1)


_PCR_PROPERTIES: Final[dict[int, _Holds]] = {
    PT_PCR.SAVE: lambda pcr: pcr.saved,
    PT_PCR.EXTEND_L0: _extends_at(0),
    PT_PCR.RESET_L0: _resets_at(0),
    PT_PCR.EXTEND_L1: _extends_at(1),
    PT_PCR.RESET_L1: _resets_at(1),
    PT_PCR.EXTEND_L2: _extends_at(2),
    PT_PCR.RESET_L2: _resets_at(2),
    PT_PCR.EXTEND_L3: _extends_at(3),
    PT_PCR.RESET_L3: _resets_at(3),
    PT_PCR.EXTEND_L4: _extends_at(4),
    PT_PCR.RESET_L4: _resets_at(4),
    PT_PCR.NO_INCREMENT: lambda pcr: not pcr.counted,
    PT_PCR.DRTM_RESET: lambda pcr: pcr.dynamic,
    PT_PCR.POLICY: lambda pcr: pcr.authorized,
    PT_PCR.AUTH: lambda pcr: pcr.authorized,
}


def pcr_properties() -> list[tuple[int, bytes]]:
    """Every PCR property with the bitmap of the PCRs that have it."""
    found = []
    for tag, holds in _PCR_PROPERTIES.items():
        bits = sum(1 << pcr for pcr, attributes in enumerate(pcrs.ATTRIBUTES) if holds(attributes))
        found.append((int(tag), bits.to_bytes(pcrs.SELECT_SIZE, "little")))
    return found

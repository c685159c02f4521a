"""Handles: the first and last of every range pass, their neighbours do not."""

from typing import Any

import pytest

from vtpmd.tpm.rc import RC, TpmError
from vtpmd.tpm.wire import interface
from vtpmd.tpm.wire.structure import parse

from .declarations import PROFILE

TRANSIENT = (0x80000000, 0x80000002)
PERSISTENT = (0x81000000, 0x81FFFFFF)
HMAC = (0x02000000, 0x0200003F)
POLICY = (0x03000000, 0x0300003F)
NV = (0x01000000, 0x01FFFFFF)
EXTERNAL = (0x11000000, 0x11FFFFFF)
PERMANENT_NV = (0x12000000, 0x12FFFFFF)
PCR = (0, 23)
VENDOR = (0x40000010, 0x4000010F)
ACT = (0x40000110, 0x4000011F)
OWNER = (0x40000001, 0x40000001)
NULL = (0x40000007, 0x40000007)
PASSWORD = (0x40000009, 0x40000009)
LOCKOUT_ENDORSEMENT_PLATFORM = (0x4000000A, 0x4000000C)
ENDORSEMENT_PLATFORM = (0x4000000B, 0x4000000C)
LOCKOUT = (0x4000000A, 0x4000000A)
ENDORSEMENT = (0x4000000B, 0x4000000B)
PLATFORM = (0x4000000C, 0x4000000C)
PLATFORM_NV = (0x4000000B, 0x4000000D)

ENTITY = (PCR, NV, OWNER, LOCKOUT_ENDORSEMENT_PLATFORM, VENDOR, TRANSIENT, PERSISTENT)

RANGES: dict[str, tuple[tuple[int, int], ...]] = {
    "TPMI_DH_OBJECT": (TRANSIENT, PERSISTENT),
    "TPMI_DH_OBJECT_NULL": (NULL, TRANSIENT, PERSISTENT),
    "TPMI_DH_PARENT": (OWNER, NULL, ENDORSEMENT_PLATFORM, TRANSIENT, PERSISTENT),
    "TPMI_DH_PERSISTENT": (PERSISTENT,),
    "TPMI_DH_ENTITY": ENTITY,
    "TPMI_DH_ENTITY_NULL": (*ENTITY, NULL),
    "TPMI_DH_PCR": (PCR,),
    "TPMI_DH_PCR_NULL": (PCR, NULL),
    "TPMI_SH_AUTH_SESSION": (HMAC, POLICY),
    "TPMI_SH_AUTH_SESSION_PW": (HMAC, POLICY, PASSWORD),
    "TPMI_SH_HMAC": (HMAC,),
    "TPMI_SH_POLICY": (POLICY,),
    "TPMI_DH_CONTEXT": (HMAC, POLICY, TRANSIENT),
    "TPMI_DH_SAVED": (HMAC, POLICY, (0x80000000, 0x80000002)),
    "TPMI_RH_HIERARCHY": (OWNER, NULL, ENDORSEMENT_PLATFORM),
    "TPMI_RH_ENABLES": (OWNER, PLATFORM_NV),
    "TPMI_RH_HIERARCHY_AUTH": (OWNER, LOCKOUT_ENDORSEMENT_PLATFORM),
    "TPMI_RH_HIERARCHY_AUTH_NULL": (OWNER, NULL, LOCKOUT_ENDORSEMENT_PLATFORM),
    "TPMI_RH_HIERARCHY_POLICY": (OWNER, LOCKOUT_ENDORSEMENT_PLATFORM, ACT),
    "TPMI_RH_BASE_HIERARCHY": (OWNER, ENDORSEMENT_PLATFORM),
    "TPMI_RH_PLATFORM": (PLATFORM,),
    "TPMI_RH_OWNER": (OWNER,),
    "TPMI_RH_ENDORSEMENT": (ENDORSEMENT,),
    "TPMI_RH_PROVISION": (OWNER, PLATFORM),
    "TPMI_RH_CLEAR": (LOCKOUT, PLATFORM),
    "TPMI_RH_LOCKOUT": (LOCKOUT,),
    "TPMI_RH_ACT": (ACT,),
    "TPMI_RH_NV_AUTH": (NV, OWNER, PLATFORM),
    "TPMI_RH_NV_INDEX": (NV, EXTERNAL, PERMANENT_NV),
    "TPMI_RH_NV_DEFINED_INDEX": (NV, EXTERNAL),
    "TPMI_RH_NV_LEGACY_INDEX": (NV,),
    "TPMI_RH_NV_EXP_INDEX": (EXTERNAL,),
    "TPMI_RH_NV_PERMANENT_INDEX": (PERMANENT_NV,),
}


def outcome(hint: Any, handle: int) -> int:
    """The handle, or the response code."""
    try:
        read: int = parse(hint, handle.to_bytes(4), PROFILE)
    except TpmError as error:
        return error.code
    return read


@pytest.mark.parametrize("name", RANGES)
def test_ranges(name: str) -> None:
    ends = {end for ends in RANGES.values() for limits in ends for end in limits}
    candidates = {n for end in ends for n in (end - 1, end, end + 1) if n >= 0}
    expected = {
        n: n if any(first <= n <= last for first, last in RANGES[name]) else RC.VALUE
        for n in candidates
    }
    hint = getattr(interface, name)
    assert {n: outcome(hint, n) for n in candidates} == expected


def test_every_handle_type_is_covered() -> None:
    handles = {
        name for name in vars(interface) if name.startswith(("TPMI_DH", "TPMI_SH", "TPMI_RH"))
    }
    assert handles == set(RANGES)

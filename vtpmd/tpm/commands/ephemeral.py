"""Part 3, chapter 19: Ephemeral EC Keys."""

from typing import Annotated

from ..command import Auth, command
from ..core import commitments, keys, signing
from ..crypto import ecc, ecc_signatures
from ..rc import RC, TpmError
from ..state import LoadedObject, Tpm
from ..wire.algorithms import (
    TPM2B_ECC_PARAMETER,
    TPM2B_ECC_POINT,
    TPM2B_SENSITIVE_DATA,
    TPMS_ECC_POINT,
)
from ..wire.constants import ALG, CC
from ..wire.interface import TPMI_DH_OBJECT, TPMI_ECC_CURVE, UINT16
from ..wire.objects import TPMS_ECC_PARMS
from ..wire.structure import Structure

_EMPTY_POINT = TPMS_ECC_POINT(b"", b"")


class CommitResponse(Structure):
    k: TPM2B_ECC_POINT
    l: TPM2B_ECC_POINT  # noqa: E741  the standard's name
    e: TPM2B_ECC_POINT
    counter: UINT16


@command(CC.COMMIT)
def commit(
    tpm: Tpm,
    sign_handle: Annotated[LoadedObject, TPMI_DH_OBJECT, Auth.USER],
    /,
    p1: TPM2B_ECC_POINT,
    s2: TPM2B_SENSITIVE_DATA,
    y2: TPM2B_ECC_PARAMETER,
) -> CommitResponse:
    """Commit to a value, the first step of an anonymous signature (19.2)."""
    parameters = sign_handle.public.parameters
    if sign_handle.public.type != ALG.ECC:
        raise TpmError(RC.KEY, at="sign_handle")
    assert isinstance(parameters, TPMS_ECC_PARMS)
    if not signing.is_anonymous(parameters.scheme.scheme):
        raise TpmError(RC.SCHEME, at="sign_handle")
    if bool(s2) != bool(y2):
        raise TpmError(RC.SIZE, at="y2")
    curve = keys.ecc_curve(sign_handle.public)
    base = _base(sign_handle, curve, s2, y2) if s2 else None
    given = keys.point_on(curve, p1, at="p1") if p1 != _EMPTY_POINT else None
    r = commitments.fresh(tpm, curve, sign_handle.name)
    k = l = e = None  # noqa: E741
    if base is not None:
        k = ecc.multiply(curve, keys.ecc_private(sign_handle), base)
        l = ecc.multiply(curve, r, base)  # noqa: E741
    if given is not None:
        e = ecc.multiply(curve, r, given)
    elif base is None:
        e = ecc.public_point(curve, r)
    return CommitResponse(
        keys.coordinates(curve, k),
        keys.coordinates(curve, l),
        keys.coordinates(curve, e),
        commitments.commit(tpm),
    )


def _base(key: LoadedObject, curve: ecc.Curve, s2: bytes, y2: bytes) -> ecc.Point:
    name_alg = key.public.name_alg
    if name_alg == ALG.NULL:
        raise TpmError(RC.HASH, at="sign_handle")
    base = ecc_signatures.commit_base(curve, name_alg, s2, int.from_bytes(y2))
    if not curve.contains(base):
        raise TpmError(RC.ECC_POINT, at="s2")
    return base


class EcEphemeralResponse(Structure):
    q: TPM2B_ECC_POINT
    counter: UINT16


@command(CC.EC_EPHEMERAL)
def ec_ephemeral(tpm: Tpm, /, curve_id: TPMI_ECC_CURVE) -> EcEphemeralResponse:
    """Make an ephemeral key for TPM2_ZGen_2Phase (19.3)."""
    curve = ecc.CURVES.get(curve_id)
    if curve is None:  # for ZGen_2Phase only, which Curve25519 and Curve448 don't have
        raise TpmError(RC.CURVE, at="curve_id")
    q = ecc.public_point(curve, commitments.fresh(tpm, curve, b""))
    return EcEphemeralResponse(keys.coordinates(curve, q), commitments.commit(tpm))

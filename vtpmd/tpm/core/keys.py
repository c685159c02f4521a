"""The cryptographic keys inside objects (Part 1, clauses 43 and 44).

RSA keys are made once per loaded object: recovering the second prime costs more than a signature.
"""

from ..crypto.ecc import CURVES, Curve, Point
from ..crypto.rsa import DEFAULT_EXPONENT, RsaKey, RsaPublicKey
from ..rc import RC, TpmError
from ..state import LoadedObject
from ..wire.algorithms import TPMS_ECC_POINT
from ..wire.objects import TPMS_ECC_PARMS, TPMS_RSA_PARMS, TPMT_PUBLIC


def rsa_parameters(public: TPMT_PUBLIC) -> TPMS_RSA_PARMS:
    """The parameters of an RSA public area. TpmError(RC.KEY) for any other."""
    if not isinstance(public.parameters, TPMS_RSA_PARMS):
        raise TpmError(RC.KEY)
    return public.parameters


def ecc_parameters(public: TPMT_PUBLIC) -> TPMS_ECC_PARMS:
    """The parameters of an ECC public area. TpmError(RC.KEY) for any other."""
    if not isinstance(public.parameters, TPMS_ECC_PARMS):
        raise TpmError(RC.KEY)
    return public.parameters


def rsa_exponent(parameters: TPMS_RSA_PARMS) -> int:
    """The public exponent; 0 stands for the default."""
    return parameters.exponent or DEFAULT_EXPONENT


def rsa_public(public: TPMT_PUBLIC) -> RsaPublicKey:
    """The RSA public key of a public area. TpmError(RC.KEY) for another type."""
    parameters = rsa_parameters(public)
    assert isinstance(public.unique, bytes)
    return RsaPublicKey(int.from_bytes(public.unique), rsa_exponent(parameters))


def rsa_private(key: LoadedObject) -> RsaKey:
    """The RSA key pair of a loaded object with a sensitive area.

    Raises TpmError(RC.KEY) for another type, RC.BINDING if its parts don't belong together.
    """
    if key.rsa_key is None:
        parameters = rsa_parameters(key.public)
        assert isinstance(key.public.unique, bytes)
        assert key.sensitive is not None
        modulus = int.from_bytes(key.public.unique)
        prime = int.from_bytes(key.sensitive.sensitive)
        key.rsa_key = RsaKey.from_prime(modulus, rsa_exponent(parameters), prime)
    return key.rsa_key


def curve_of(public: TPMT_PUBLIC) -> Curve:
    """The curve of an ECC public area. TpmError(RC.KEY) for another type."""
    return CURVES[ecc_parameters(public).curve_id]


def ecc_public(public: TPMT_PUBLIC) -> Point:
    """The public point of an ECC public area, not checked. TpmError(RC.KEY) for another type."""
    ecc_parameters(public)
    assert isinstance(public.unique, TPMS_ECC_POINT)
    return point_from(public.unique)


def ecc_private(key: LoadedObject) -> int:
    """The private scalar of a loaded ECC key with a sensitive area."""
    ecc_parameters(key.public)
    assert key.sensitive is not None
    return int.from_bytes(key.sensitive.sensitive)


def point_from(point: TPMS_ECC_POINT) -> Point:
    """A point as integers."""
    return Point(int.from_bytes(point.x), int.from_bytes(point.y))


def point_to(curve: Curve, point: Point) -> TPMS_ECC_POINT:
    """A point as it leaves the TPM, its coordinates padded (Part 1, 44.5.3)."""
    return TPMS_ECC_POINT(curve.octets(point.x), curve.octets(point.y))

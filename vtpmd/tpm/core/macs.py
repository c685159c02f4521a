"""Message authentication codes by keys in objects: HMAC and CMAC (Part 3, 15.6 and 17.3)."""

from ..crypto.cmac import Cmac
from ..crypto.resumable import ResumableHmac
from ..profile import Profile
from ..rc import RC, TpmError
from ..state import LoadedObject
from ..wire.algorithms import TPMS_SYMCIPHER_PARMS
from ..wire.attributes import TPMA_OBJECT
from ..wire.constants import ALG
from ..wire.objects import TPMS_KEYEDHASH_PARMS
from .objects import has


def select(profile: Profile, key: LoadedObject, in_scheme: int) -> int:
    """The hash of an HMAC, or TPM_ALG_CMAC, that a key computes when asked for `in_scheme`.

    Raises RC.TYPE, RC.ATTRIBUTES and RC.KEY at `handle`; RC.VALUE and RC.SCHEME at
    `in_scheme`.
    """
    parameters = key.public.parameters
    own: int = ALG.NULL
    match key.public.type:
        case ALG.KEYEDHASH:
            assert isinstance(parameters, TPMS_KEYEDHASH_PARMS)
            allowed = profile.hash_algs
            if parameters.scheme.details is not None:
                own = parameters.scheme.details.hash_alg
        case ALG.SYMCIPHER:
            assert isinstance(parameters, TPMS_SYMCIPHER_PARMS)
            allowed = frozenset({ALG.CMAC})
            own = ALG.NULL if parameters.sym.mode is None else parameters.sym.mode
        case _:
            raise TpmError(RC.TYPE, at="handle")
    chosen = own if in_scheme == ALG.NULL else in_scheme
    if chosen == ALG.NULL or own not in (ALG.NULL, chosen):
        raise TpmError(RC.VALUE, at="in_scheme")
    if chosen not in allowed:
        raise TpmError(RC.SCHEME, at="in_scheme")
    if has(key.public, TPMA_OBJECT.RESTRICTED):
        raise TpmError(RC.ATTRIBUTES, at="handle")
    if not has(key.public, TPMA_OBJECT.SIGN_ENCRYPT):
        raise TpmError(RC.KEY, at="handle")
    return chosen


def start(key: LoadedObject, scheme: int) -> ResumableHmac | Cmac:
    """A running MAC by a key whose sensitive area is loaded, with the scheme of `select`."""
    assert key.sensitive is not None
    if scheme == ALG.CMAC:
        parameters = key.public.parameters
        assert isinstance(parameters, TPMS_SYMCIPHER_PARMS)
        return Cmac(parameters.sym.algorithm, key.sensitive.sensitive)
    return ResumableHmac(scheme, key.sensitive.sensitive)

"""How much NV memory indices and persistent objects take, and what is left (Part 1, 34).

The capacity is only accounted for, which bounds the size of the stored state. The guaranteed
minimum of persistent objects and counters is reserved.
"""

from collections.abc import Mapping

from ..rc import RC, TpmError
from ..state import NvIndex, Tpm
from ..wire.constants import NT
from ..wire.limits import MAX_PUBLIC_SIZE

CAPACITY = 128 * 1024
"""Octets for NV indices and persistent objects together."""
_OBJECT_SIZE = 2048
"""What a persistent object counts for, in octets, where public areas are no larger than RSA's."""
INDEX_OVERHEAD = 128
"""Fixed overhead per index, in octets."""
MIN_PERSISTENT_OBJECTS = 7
MIN_COUNTERS = 8
_COUNTER_SIZE = INDEX_OVERHEAD + 8


def free(tpm: Tpm) -> int:
    """Unused octets."""
    return _left(tpm, tpm.permanent.nv)


def _left(tpm: Tpm, indices: Mapping[int, NvIndex]) -> int:
    """What objects leave unused with these indices, in octets."""
    taken = sum(INDEX_OVERHEAD + index.public.data_size for index in indices.values())
    return CAPACITY - taken - _object_size(tpm) * len(tpm.permanent.objects)


def _object_size(tpm: Tpm) -> int:
    """What every persistent object counts for, in octets."""
    return _OBJECT_SIZE + tpm.profile.max_public_size - MAX_PUBLIC_SIZE


def counters(tpm: Tpm) -> int:
    """How many counter indices are defined (TPM_PT_NV_COUNTERS)."""
    return sum(index.nt == NT.COUNTER for index in tpm.permanent.nv.values())


def counters_available(tpm: Tpm) -> int:
    """How many further counters can be defined (TPM_PT_NV_COUNTERS_AVAIL)."""
    return max(0, free(tpm) - _kept_for_objects(tpm)) // _COUNTER_SIZE


def objects_available(tpm: Tpm) -> int:
    """How many further objects can be made persistent (TPM_PT_HR_PERSISTENT_AVAIL)."""
    return max(0, free(tpm) - _kept_for_counters(tpm)) // _object_size(tpm)


def require_for_index(tpm: Tpm, data_size: int, *, counter: bool) -> None:
    """Raise RC.NV_SPACE if an index with so many octets can't be defined."""
    kept = _kept_for_objects(tpm) + (0 if counter else _kept_for_counters(tpm))
    if INDEX_OVERHEAD + data_size > free(tpm) - kept:
        raise TpmError(RC.NV_SPACE)


def require_for_indices(tpm: Tpm, indices: Mapping[int, NvIndex]) -> None:
    """Raise RC.NV_SPACE if these can't be all the indices there are; no counter goes."""
    if _left(tpm, indices) < _kept_for_objects(tpm) + _kept_for_counters(tpm):
        raise TpmError(RC.NV_SPACE)


def require_for_object(tpm: Tpm) -> None:
    """Raise RC.NV_SPACE if no further object can be made persistent."""
    if not objects_available(tpm):
        raise TpmError(RC.NV_SPACE)


def _kept_for_objects(tpm: Tpm) -> int:
    return _object_size(tpm) * max(0, MIN_PERSISTENT_OBJECTS - len(tpm.permanent.objects))


def _kept_for_counters(tpm: Tpm) -> int:
    return _COUNTER_SIZE * max(0, MIN_COUNTERS - counters(tpm))

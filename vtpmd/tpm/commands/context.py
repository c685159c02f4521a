"""Part 3, chapter 28: Context Management."""

from typing import Annotated

from ..command import Auth, ReadOnly, ResponseHandle, command
from ..core import contexts, nv_space, sessions
from ..core.entities import FIRST_PLATFORM_PERSISTENT
from ..rc import RC, TpmError
from ..state import Hierarchy, LoadedObject, Session, Tpm
from ..wire.constants import CC, HT, RH
from ..wire.context import TPMS_CONTEXT
from ..wire.interface import (
    TPM_HANDLE,
    TPMI_DH_CONTEXT,
    TPMI_DH_OBJECT,
    TPMI_DH_PERSISTENT,
    TPMI_RH_PROVISION,
)
from ..wire.structure import Structure


class ContextSaveResponse(Structure):
    context: TPMS_CONTEXT


class ContextLoadResponse(Structure):
    loaded_handle: Annotated[TPM_HANDLE, ResponseHandle]


@command(CC.CONTEXT_SAVE, sessions=False)
def context_save(
    tpm: Tpm, save_handle: Annotated[LoadedObject | Session, TPMI_DH_CONTEXT], /
) -> ContextSaveResponse:
    """Save the context of an object, sequence or session outside the TPM (28.2)."""
    if isinstance(save_handle, Session):
        return ContextSaveResponse(contexts.save_session(tpm, save_handle))
    return ContextSaveResponse(contexts.save_object(tpm, save_handle))


@command(CC.CONTEXT_LOAD, sessions=False)
def context_load(tpm: Tpm, /, context: TPMS_CONTEXT) -> ContextLoadResponse:
    """Load a saved context (28.3)."""
    return ContextLoadResponse(contexts.load(tpm, context))


@command(CC.FLUSH_CONTEXT, sessions=False)
def flush_context(tpm: Tpm, /, flush_handle: TPMI_DH_CONTEXT) -> None:
    """Remove a loaded object or sequence, or a loaded or saved session (28.4)."""
    if flush_handle >> 24 == HT.TRANSIENT:
        if tpm.volatile.objects.pop(flush_handle, None) is None:
            raise TpmError(RC.HANDLE, at="flush_handle")
        return
    active = sessions.active_handle(tpm, flush_handle)
    if active is None:
        raise TpmError(RC.HANDLE, at="flush_handle")
    sessions.flush(tpm, active)


@command(CC.EVICT_CONTROL, nv=True, read_only=ReadOnly.REFUSED)
def evict_control(
    tpm: Tpm,
    auth: Annotated[Hierarchy, TPMI_RH_PROVISION, Auth.USER],
    object_handle: Annotated[LoadedObject, TPMI_DH_OBJECT],
    /,
    persistent_handle: TPMI_DH_PERSISTENT,
) -> None:
    """Make an object persistent, or remove a persistent object (28.5)."""
    if object_handle.hierarchy == RH.NULL or object_handle.st_clear:
        raise TpmError(RC.ATTRIBUTES, at="object_handle")
    is_persistent = object_handle.handle >> 24 == HT.PERSISTENT
    if is_persistent and object_handle.handle != persistent_handle:
        raise TpmError(RC.HANDLE, at="object_handle")
    by_platform = auth.handle == RH.PLATFORM
    of_platform = object_handle.hierarchy == RH.PLATFORM
    if by_platform != of_platform and not (by_platform and is_persistent):
        raise TpmError(RC.HIERARCHY, at="object_handle")
    if is_persistent:
        tpm.begin_nv_update()
        del tpm.permanent.objects[persistent_handle]
        return
    if by_platform != (persistent_handle >= FIRST_PLATFORM_PERSISTENT):
        raise TpmError(RC.RANGE, at="persistent_handle")
    if persistent_handle in tpm.permanent.objects:
        raise TpmError(RC.NV_DEFINED)
    nv_space.require_for_object(tpm)
    tpm.begin_nv_update()
    tpm.permanent.objects[persistent_handle] = object_handle.at_handle(persistent_handle)

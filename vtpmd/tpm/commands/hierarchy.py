"""Part 3, chapter 24: Hierarchy Commands."""

from typing import Annotated

from ..command import Auth, command
from ..core import creation, objects, templates, tickets
from ..state import Hierarchy, Tpm
from ..wire.algorithms import TPM2B_SENSITIVE_CREATE
from ..wire.base import (
    TPM2B_DATA,
    TPM2B_DIGEST,
    TPM2B_NAME,
    TPML_PCR_SELECTION,
    TPMT_TK_CREATION,
)
from ..wire.constants import CC
from ..wire.creation import TPM2B_CREATION_DATA
from ..wire.interface import TPM_HANDLE, TPMI_RH_HIERARCHY
from ..wire.objects import TPM2B_PUBLIC
from ..wire.structure import Structure


class CreatePrimaryResponse(Structure):
    object_handle: TPM_HANDLE
    out_public: TPM2B_PUBLIC
    creation_data: TPM2B_CREATION_DATA
    creation_hash: TPM2B_DIGEST
    creation_ticket: TPMT_TK_CREATION
    name: TPM2B_NAME


@command(CC.CREATE_PRIMARY, long=True)
def create_primary(
    tpm: Tpm,
    primary_handle: Annotated[Hierarchy, TPMI_RH_HIERARCHY, Auth.USER],
    /,
    in_sensitive: TPM2B_SENSITIVE_CREATE,
    in_public: TPM2B_PUBLIC,
    outside_info: TPM2B_DATA,
    creation_pcr: TPML_PCR_SELECTION,
) -> CreatePrimaryResponse:
    """Derive a Primary Object from a Primary Seed, and load it (24.1)."""
    objects.require_slot(tpm)
    templates.check_creation(None, in_public, in_sensitive.data, at="in_public")
    auth_value = creation.authorization_value(
        in_sensitive.user_auth, in_public.name_alg, at="in_sensitive"
    )
    created = creation.primary_object(tpm, primary_handle, in_public, auth_value, in_sensitive.data)
    data, creation_hash = creation.creation_data(
        tpm, primary_handle, in_public.name_alg, creation_pcr, outside_info
    )
    ticket = tickets.creation(tpm, primary_handle.handle, created.name, creation_hash)
    handle = objects.add(tpm, created)
    return CreatePrimaryResponse(handle, created.public, data, creation_hash, ticket, created.name)

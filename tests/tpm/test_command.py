"""What `@command` declares: tables written from the specification, and mistakes it refuses."""

from pathlib import Path
from typing import Annotated

import pytest

from vtpmd.tpm import commands
from vtpmd.tpm.command import COMMANDS, Auth, CommandSpec, ResponseHandle, command, find
from vtpmd.tpm.core.nv import UPDATED_BY
from vtpmd.tpm.profile import FIRST_VERSION, PROFILES, Profile
from vtpmd.tpm.state import LoadedObject, Tpm
from vtpmd.tpm.wire.constants import CC
from vtpmd.tpm.wire.interface import TPM_HANDLE, TPMI_DH_OBJECT, UINT16
from vtpmd.tpm.wire.structure import Structure

UNUSED = 0x2000BEEF
DEFAULT = PROFILES["default-v1"]

DECLARED = {
    # Part 3, 9.3; and 5.2: every other command needs it first.
    "starts": {CC.STARTUP},
    # Part 1, 10.3: "does not allow execution … except".
    "in_failure_mode": {CC.GET_TEST_RESULT, CC.GET_CAPABILITY},
    # Part 3, 23.21: "TPM2_Create(), TPM2_CreatePrimary(), or TPM2_CreateLoaded()".
    "has_template": {CC.CREATE, CC.CREATE_PRIMARY, CC.CREATE_LOADED},
    # Part 3, 31.7 to 31.11: TPMA_NV_AUTHWRITE and its like; 31.12 has no index to authorize.
    "writes_index": {
        *(CC.NV_WRITE, CC.NV_INCREMENT, CC.NV_EXTEND, CC.NV_SET_BITS, CC.NV_WRITE_LOCK),
    },
    # Those of libtpms that report what TPM2_Shutdown has not saved, or nothing that can change.
    "keeps_orderly": {
        *(CC.STARTUP, CC.SHUTDOWN, CC.SELF_TEST, CC.INCREMENTAL_SELF_TEST, CC.GET_TEST_RESULT),
        *(CC.GET_CAPABILITY, CC.TEST_PARMS, CC.ECC_PARAMETERS, CC.GET_RANDOM, CC.PCR_READ),
        *(CC.READ_PUBLIC, CC.NV_READ_PUBLIC, CC.NV_READ_PUBLIC2),
    },
    # Part 3: the tables whose response has a handle area.
    "response_handle": {
        *(CC.CREATE_PRIMARY, CC.CREATE_LOADED, CC.LOAD, CC.LOAD_EXTERNAL, CC.CONTEXT_LOAD),
        *(CC.HMAC_START, CC.HASH_SEQUENCE_START, CC.START_AUTH_SESSION),
        *(CC.SIGN_SEQUENCE_START, CC.VERIFY_SEQUENCE_START),
    },
}


class PlainResponse(Structure):
    count: UINT16
    object_handle: TPM_HANDLE


class LateHandleResponse(Structure):
    count: UINT16
    object_handle: Annotated[TPM_HANDLE, ResponseHandle]


@pytest.mark.parametrize("declaration", DECLARED)
def test_commands_are_declared_as_the_specification_has_them(declaration: str) -> None:
    declared = {code for code, spec in COMMANDS.items() if getattr(spec, declaration)}
    assert {CC(code).name for code in declared} == {code.name for code in DECLARED[declaration]}


def test_every_type_of_index_is_updated_by_a_command_that_writes() -> None:
    assert all(COMMANDS[code].writes_index for code in UPDATED_BY.values())


def test_every_module_of_commands_is_loaded() -> None:
    """A new one needs no list: what it declares is there when the package is imported."""
    loaded = {Path(spec.action.__code__.co_filename) for spec in COMMANDS.values()}
    (package,) = commands.__path__
    assert loaded == set(Path(package).glob("*.py")) - {Path(package, "__init__.py")}


@pytest.fixture
def unused() -> CommandSpec:
    """A command that no profile has: it came with a later version of the specification."""

    def declared(tpm: Tpm, /) -> None: ...

    command(UNUSED, version=FIRST_VERSION + 1)(declared)
    return COMMANDS.pop(UNUSED)


def test_later_commands_belong_to_later_profiles(
    unused: CommandSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(COMMANDS, UNUSED, unused)
    later = Profile("later", frozenset(), {}, frozenset(), frozenset(), FIRST_VERSION + 1)
    assert find(UNUSED, DEFAULT) is None
    assert find(UNUSED, later) is unused
    assert find(CC.CLEAR, DEFAULT) is COMMANDS[CC.CLEAR]
    assert find(CC.CLEAR, DEFAULT.without("CC_CLEAR")) is None


def test_a_name_alone_makes_no_handle_area() -> None:
    def declared(tpm: Tpm, /) -> PlainResponse: ...  # type: ignore[empty-body]

    command(UNUSED)(declared)
    assert not COMMANDS.pop(UNUSED).response_handle


def test_a_code_is_taken_once() -> None:
    def declared(tpm: Tpm, /) -> None: ...

    with pytest.raises(TypeError, match="is taken"):
        command(CC.GET_RANDOM)(declared)


def test_the_handle_area_of_a_response_comes_first() -> None:
    def declared(tpm: Tpm, /) -> LateHandleResponse: ...  # type: ignore[empty-body]

    with pytest.raises(TypeError, match="only the first field"):
        command(UNUSED)(declared)


def test_handles_with_a_role_come_first() -> None:
    def declared(
        tpm: Tpm,
        first: Annotated[LoadedObject, TPMI_DH_OBJECT],
        second: Annotated[LoadedObject, TPMI_DH_OBJECT, Auth.USER],
        /,
    ) -> None: ...

    with pytest.raises(TypeError, match="follows one without"):
        command(UNUSED)(declared)

"""Declaring commands: the Python signature *is* the Part 3 command table.

    @command(CC.PCR_EXTEND, nv=True)
    def pcr_extend(
        tpm: Tpm,
        pcr_handle: Annotated[Pcr | None, TPMI_DH_PCR_NULL, Auth.USER],
        /,
        digests: TPML_DIGEST_VALUES,
    ) -> None:

Positional-only arguments after ``tpm`` are the handle area, the others are the parameter area, and
the return annotation is the response: ``None`` or a `Structure` whose first field, if its name
ends in ``_handle``, is the response's handle area.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, get_args, get_origin

from .core.authorization import Auth
from .profile import Profile
from .rc import TpmError
from .wire.attributes import TPMA_CC
from .wire.kinds import Sized, SizedStructure
from .wire.structure import Reader, Structure, kind_of, reader

__all__ = ["COMMANDS", "Auth", "CommandSpec", "HandleSpec", "attributes_of_commands", "command"]


@dataclass(frozen=True, slots=True)
class HandleSpec:
    """One row of the handle area; ``optional`` if the action takes None for TPM_RH_NULL."""

    name: str
    read: Reader
    auth: Auth
    optional: bool


@dataclass(frozen=True, slots=True)
class CommandSpec:
    """What the dispatcher and TPM2_GetCapability know of a command."""

    code: int
    action: Callable[..., Any]
    handles: tuple[HandleSpec, ...]
    parameters: tuple[tuple[str, Reader], ...]
    response_handle: bool
    """The response begins with a handle."""
    decrypt: bool
    """The first command parameter may be encrypted."""
    encrypt: bool
    """The first response parameter may be encrypted."""
    sessions: bool
    """Sessions are allowed in the command."""
    long: bool
    """It may take more than a few milliseconds, and can be canceled."""
    attributes: int
    """TPMA_CC."""
    authorizations: int
    """How many handles have an auth role; these come first."""

    def locate(self, error: TpmError) -> TpmError:
        """Turn ``at="in_scheme"`` into the position bits of the response code (Part 2, 6.6.2)."""
        if error.at is not None:
            for number, handle in enumerate(self.handles, 1):
                if handle.name == error.at:
                    return error.handle(number)
            for number, (name, _) in enumerate(self.parameters, 1):
                if name == error.at:
                    return error.parameter(number)
        return error


COMMANDS: dict[int, CommandSpec] = {}
"""Every command that is implemented, by command code."""


def attributes_of_commands(profile: Profile) -> dict[int, int]:
    """Code and TPMA_CC of the commands that a profile has."""
    return {
        code: spec.attributes for code, spec in COMMANDS.items() if profile.allows_command(code)
    }


Action = TypeVar("Action", bound=Callable[..., Any])


def command(
    code: int,
    *,
    nv: bool = False,
    extensive: bool = False,
    flushed: bool = False,
    sessions: bool = True,
    long: bool = False,
) -> Callable[[Action], Action]:
    """Register an action under its command code.

    ``nv``, ``extensive`` and ``flushed`` are the bits of TPMA_CC (Part 2, 8.9); ``sessions`` is
    False for commands whose tag has to be TPM_ST_NO_SESSIONS.
    """

    def register(action: Action) -> Action:
        signature = inspect.signature(action)
        _, *arguments = signature.parameters.values()
        handles = tuple(_handle(p) for p in arguments if p.kind is p.POSITIONAL_ONLY)
        parameters = [p for p in arguments if p.kind is not p.POSITIONAL_ONLY]
        fields = _fields(signature.return_annotation)
        response_handle = bool(fields) and fields[0][0].endswith("_handle")
        area = fields[1:] if response_handle else fields
        flags = (
            (TPMA_CC.NV if nv else 0)
            | (TPMA_CC.EXTENSIVE if extensive else 0)
            | (TPMA_CC.FLUSHED if flushed else 0)
            | (TPMA_CC.R_HANDLE if response_handle else 0)
        )
        COMMANDS[int(code)] = CommandSpec(
            code=int(code),
            action=action,
            handles=handles,
            parameters=tuple((p.name, reader(kind_of(p.annotation))) for p in parameters),
            response_handle=response_handle,
            decrypt=bool(parameters) and _is_sized(kind_of(parameters[0].annotation)),
            encrypt=bool(area) and _is_sized(area[0][1]),
            sessions=sessions,
            long=long,
            attributes=int(code) | flags | len(handles) << TPMA_CC.C_HANDLES_SHIFT,
            authorizations=sum(handle.auth is not Auth.NONE for handle in handles),
        )
        return action

    return register


def _handle(parameter: inspect.Parameter) -> HandleSpec:
    annotation = parameter.annotation
    if get_origin(annotation) is not Annotated:
        raise TypeError(f"handle {parameter.name} is not Annotated[entity, interface type, role]")
    entity, interface, *role = get_args(annotation)
    optional = isinstance(entity, UnionType) and NoneType in get_args(entity)
    return HandleSpec(
        parameter.name, reader(kind_of(interface)), role[0] if role else Auth.NONE, optional
    )


def _fields(response: Any) -> tuple[tuple[str, Any], ...]:
    if response is None:
        return ()
    if not issubclass(response, Structure):
        raise TypeError(f"a response is None or a Structure, not {response!r}")
    fields: tuple[tuple[str, Any], ...] = response.__wire__
    return fields


def _is_sized(kind: Any) -> bool:
    return isinstance(kind, Sized | SizedStructure)

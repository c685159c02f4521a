"""Declaring commands: the Python signature *is* the Part 3 command table.

    @command(CC.PCR_EXTEND, nv=True)
    def pcr_extend(
        tpm: Tpm,
        pcr_handle: Annotated[Pcr | None, TPMI_DH_PCR_NULL, Auth.USER],
        /,
        digests: TPML_DIGEST_VALUES,
    ) -> None:

Positional-only arguments after `tpm` are the handle area, the others are the parameter area, and
the return annotation is the response: `None` or a `Structure`. Its first field is the response's
handle area if it is annotated so: `object_handle: Annotated[TPM_HANDLE, ResponseHandle]`.

Whatever rules elsewhere need to know about a command is an argument of its `@command`.
"""

import inspect
from collections.abc import Callable
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, get_args, get_origin

from .core.command_spec import Auth, CommandSpec, HandleSpec, ReadOnly
from .profile import FIRST_VERSION, Profile
from .rc import TpmError
from .wire.area import Area
from .wire.attributes import TPMA_CC
from .wire.kinds import Sized, SizedStructure
from .wire.structure import Kind, Structure, kind_of

__all__ = [
    "COMMANDS",
    "LONG",
    "Auth",
    "CommandSpec",
    "ReadOnly",
    "ResponseHandle",
    "attributes_of_commands",
    "command",
    "compile_commands",
    "find",
]


class ResponseHandle:
    """Marks the first field of a response as its handle area."""


COMMANDS: dict[int, CommandSpec] = {}
"""Every command that is implemented, by command code."""

LONG: set[int] = set()
"""Command codes of those that may take more than a few milliseconds, and can be canceled."""


def find(code: int, profile: Profile) -> CommandSpec | None:
    """The command with this code, if it is implemented and the profile has it."""
    spec = COMMANDS.get(code)
    if spec is None or spec.version > profile.version or code in profile.without_commands:
        return None
    return spec


def compile_commands() -> None:
    """Generate what reads and writes all commands, ahead of their first use."""
    for spec in COMMANDS.values():
        spec.compile()


def attributes_of_commands(profile: Profile) -> dict[int, int]:
    """Code and TPMA_CC of the commands that a profile has."""
    return {code: spec.attributes for code in COMMANDS if (spec := find(code, profile)) is not None}


Action = TypeVar("Action", bound=Callable[..., Any])


def command(
    code: int,
    *,
    version: int = FIRST_VERSION,
    nv: bool = False,
    extensive: bool = False,
    flushed: bool = False,
    sessions: bool = True,
    long: bool = False,
    starts: bool = False,
    in_failure_mode: bool = False,
    keeps_orderly: bool = False,
    read_only: ReadOnly = ReadOnly.ALLOWED,
    has_template: bool = False,
    writes_index: bool = False,
) -> Callable[[Action], Action]:
    """Register an action under its command code.

    `nv`, `extensive` and `flushed` are the bits of TPMA_CC (Part 2, 8.9); `sessions` is
    False for commands whose tag has to be TPM_ST_NO_SESSIONS; all others are as in `CommandSpec`.
    Raises TypeError for a signature that is no command table, and for a code that is taken.
    """

    def register(action: Action) -> Action:
        if code in COMMANDS:
            raise TypeError(f"{action.__name__}: command code 0x{code:x} is taken")
        signature = inspect.signature(action)
        _, *arguments = signature.parameters.values()
        rows = [p for p in arguments if p.kind is p.POSITIONAL_ONLY]
        handles = tuple(map(_handle, rows))
        parameters = {
            p.name: kind_of(p.annotation) for p in arguments if p.kind is not p.POSITIONAL_ONLY
        }
        fields = _fields(signature.return_annotation)
        response_handle = _has_response_handle(signature.return_annotation)
        area = fields[1:] if response_handle else fields
        flags = (
            (TPMA_CC.NV if nv else 0)
            | (TPMA_CC.EXTENSIVE if extensive else 0)
            | (TPMA_CC.FLUSHED if flushed else 0)
            | (TPMA_CC.R_HANDLE if response_handle else 0)
        )
        if long:
            LONG.add(int(code))
        COMMANDS[int(code)] = CommandSpec(
            code=int(code),
            version=version,
            action=action,
            handles=handles,
            handle_area=Area(
                f"handles of {action.__name__}",
                {row.name: _interface(row) for row in rows},
                TpmError.handle,
            ),
            parameters=Area(f"parameters of {action.__name__}", parameters, TpmError.parameter),
            response=signature.return_annotation,
            response_handle=response_handle,
            decrypt=bool(parameters) and _is_sized(next(iter(parameters.values()))),
            encrypt=bool(area) and _is_sized(area[0][1]),
            sessions=sessions,
            starts=starts,
            in_failure_mode=in_failure_mode,
            keeps_orderly=keeps_orderly,
            read_only=read_only,
            has_template=has_template,
            writes_index=writes_index,
            attributes=int(code) | flags | len(handles) << TPMA_CC.C_HANDLES_SHIFT,
            authorizations=_authorizations(handles),
        )
        return action

    return register


def _handle(parameter: inspect.Parameter) -> HandleSpec:
    annotation = parameter.annotation
    if get_origin(annotation) is not Annotated:
        raise TypeError(f"handle {parameter.name} is not Annotated[entity, interface type, role]")
    entity, _, *role = get_args(annotation)
    optional = isinstance(entity, UnionType) and NoneType in get_args(entity)
    return HandleSpec(parameter.name, role[0] if role else Auth.NONE, optional)


def _interface(parameter: inspect.Parameter) -> Kind:
    """The interface type of a row of the handle area."""
    return kind_of(get_args(parameter.annotation)[1])


def _authorizations(handles: tuple[HandleSpec, ...]) -> int:
    """How many handles have a role; they have to come before all others."""
    authorized = [handle.auth is not Auth.NONE for handle in handles]
    if authorized != sorted(authorized, reverse=True):
        raise TypeError("a handle with a role follows one without")
    return sum(authorized)


def _fields(response: Any) -> tuple[tuple[str, Any], ...]:
    if response is None:
        return ()
    if not issubclass(response, Structure):
        raise TypeError(f"a response is None or a Structure, not {response!r}")
    fields: tuple[tuple[str, Any], ...] = response.__wire__
    return fields


def _has_response_handle(response: Any) -> bool:
    hints = [] if response is None else list(response.__annotations__.values())
    marked = [ResponseHandle in get_args(hint) for hint in hints]
    if any(marked[1:]):
        raise TypeError(f"{response.__name__}: only the first field can be the handle area")
    return any(marked)


def _is_sized(kind: Any) -> bool:
    return isinstance(kind, Sized | SizedStructure)

"""What a command declares about itself, for dispatcher, rules and TPM2_GetCapability."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from ..rc import TpmError
from ..wire.area import Area
from ..wire.structure import Structure


class Auth(Enum):
    """Authorization role of a handle (Part 1, 16.2)."""

    NONE = 0
    USER = 1
    ADMIN = 2
    DUP = 3


class ReadOnly(Enum):
    """How Read-Only mode treats a command (Part 3, table 207)."""

    ALLOWED = 0
    REFUSED = 1
    VOLATILE_INDICES = 2
    """Allowed for indices whose contents a TPM Reset ends anyway."""
    NO_PIN_INDEX = 3
    """Refused with a PIN index, which counts its uses."""


@dataclass(frozen=True, slots=True)
class HandleSpec:
    """One row of the handle area; `optional` if the action takes None for TPM_RH_NULL."""

    name: str
    auth: Auth
    optional: bool


@dataclass(frozen=True, slots=True)
class CommandSpec:
    """A command as its `@command` and its signature declare it."""

    code: int
    version: int
    """The version of the library specification that a profile needs to have it."""
    action: Callable[..., Any]
    handles: tuple[HandleSpec, ...]
    handle_area: Area
    parameters: Area
    response: type[Structure] | None
    response_handle: bool
    """The response begins with a handle."""
    decrypt: bool
    """The first command parameter may be encrypted."""
    encrypt: bool
    """The first response parameter may be encrypted."""
    sessions: bool
    """Sessions are allowed in the command."""
    """It may take more than a few milliseconds, and can be canceled."""
    starts: bool
    """It is allowed before TPM2_Startup, and only then."""
    in_failure_mode: bool
    """It is allowed in failure mode."""
    keeps_orderly: bool
    """A TPM2_Shutdown remains valid after it: it neither changes nor reveals the saved state."""
    read_only: ReadOnly
    has_template: bool
    """Its second parameter is the template that TPM2_PolicyTemplate binds."""
    writes_index: bool
    """It needs the write authorization of an NV Index; others need that for reading."""
    attributes: int
    """TPMA_CC."""
    authorizations: int
    """How many handles have an auth role; these come first."""

    def compile(self) -> None:
        """Generate what reads the command and writes the response, ahead of the first use."""
        self.handle_area.compile()
        self.parameters.compile()
        if self.response is not None:
            self.response.compiled_writer()

    def locate(self, error: TpmError) -> TpmError:
        """Turn `at="in_scheme"` into the position bits of the response code (Part 2, 6.6.2)."""
        if error.at is not None:
            for number, handle in enumerate(self.handles, 1):
                if handle.name == error.at:
                    return error.handle(number)
            for number, name in enumerate(self.parameters.names, 1):
                if name == error.at:
                    return error.parameter(number)
        return error

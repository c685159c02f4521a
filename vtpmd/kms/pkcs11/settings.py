"""Settings of key provider type `pkcs11`."""

from pathlib import Path
from typing import Annotated, Self, get_args

from pydantic import Field, model_validator

from ..settings import (
    KEY_PREFIX,
    KeyLabel,
    KeyServiceSettings,
    ReadFile,
    Timeout,
    require_package,
)
from .messages import MechanismName
from .module import Access, Module
from .pin import PinFile
from .provider import Pkcs11Provider

TokenText = Annotated[str, Field(pattern=r"^[ -~]{0,31}[!-~]$")]
VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]


class Pkcs11Settings(KeyServiceSettings):
    """Keys that never leave a token, such as a hardware security module, used through a PKCS#11
    `module`, whose process has the variables in `environment`.

    The token has the label `token` and, if that is not enough, the `serial` number; the PIN of its
    user is in `pin_file`, which may be a credential. `mechanism`: AES-GCM or AES key wrap, by
    default the first of them that the token knows. Keys are named by labels, those of instances
    begin with `key_prefix`; without `create` somebody else has to make them.
    """

    module: ReadFile
    token: TokenText
    serial: TokenText | None = None
    pin_file: ReadFile
    mechanism: MechanismName | None = None
    create: bool = True
    environment: dict[VariableName, str] = Field(default_factory=dict)
    key_prefix: KeyLabel = KEY_PREFIX
    key_name: KeyLabel | None = None
    timeout: Timeout = 10.0

    @model_validator(mode="after")
    def _installed(self) -> Self:
        require_package("pkcs11", "python-pkcs11", extra="pkcs11")
        return self

    def open(self, state_dir: Path) -> Pkcs11Provider:
        """Return the provider; the process with the module is not yet started."""
        mechanisms = (self.mechanism,) if self.mechanism else get_args(MechanismName)
        access = Access(self.module, self.token, self.serial or "", mechanisms, self.environment)
        module = Module(access, PinFile(self.pin_file), self.timeout)
        return Pkcs11Provider(self.name, module, self.key_prefix, self.key_name, self.create)

"""How a type of key provider declares its settings in vtpmd.yaml: a pydantic model for each type.

The entry point of a type (see `registry`) is a subclass of `ProviderSettings`. Its fields are the
keys that may stand in the file; its validators raise ValueError with a reason that names the
setting and repeats no secret.
"""

import importlib.util
from abc import abstractmethod
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from .provider import KeyProvider

KeyScope = Literal["instance", "shared"]
KEY_PREFIX = "vtpmd-"
"""What the names of instances' keys begin with unless the configuration says otherwise."""

_HOST = r"([A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]+\])"


def _path(value: object) -> Path:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError("a path is expected")
    path = Path(value)
    if not path.is_absolute():
        raise ValueError("the path must be absolute")
    return path


READ = "a file that has to be there and readable"
AbsolutePath = Annotated[Path, BeforeValidator(_path)]
ReadFile = Annotated[Path, BeforeValidator(_path), READ]
"""A path of a file that somebody else puts there, and that is only read."""
ProviderName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,62}$")]
KeyLabel = Annotated[str, Field(pattern=r"^[!-~]{1,64}$")]
PlainText = Annotated[str, Field(pattern=r"^[!-~]{1,256}$")]
HttpsUrl = Annotated[str, Field(pattern=f"^https://{_HOST}(:[0-9]{{1,5}})?$")]
Timeout = Annotated[float, Field(gt=0, le=60)]


class Section(BaseModel):
    """Base of every section of the file: exact types, no unknown keys, immutable."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


def require_package(module: str, package: str, extra: str) -> None:
    """Raise ValueError unless `module` of the optional `package` is installed.

    The module is not imported. `extra` is the extra of vtpmd that installs the package.
    """
    if importlib.util.find_spec(module) is None:
        raise ValueError(f"this type needs the package {package}: pip install 'vtpmd[{extra}]'")


class ProviderSettings(Section):
    """Settings of one key provider.

    `type` is the name of the entry point, `name` the one that key slots and `vtpmctl` use.
    """

    type: str
    name: ProviderName

    @abstractmethod
    def open(self, state_dir: Path) -> KeyProvider:
        """Return the provider with these settings, without any input or output.

        `state_dir` is the state directory of the daemon. Settings that cannot be used are refused
        by validators: this raises nothing.
        """


class KeyServiceSettings(ProviderSettings):
    """Base for providers whose keys are made and kept by a service or device.

    With `key_scope: instance` every instance has a key of its own there; with `shared` all use the
    key that `key_name` names. A request has `timeout` seconds.
    """

    key_scope: KeyScope = "instance"
    key_name: str | None = None
    timeout: Timeout = 5.0

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.key_scope == "shared") != (self.key_name is not None):
            raise ValueError("key_name belongs to key_scope: shared, which needs it")
        return self

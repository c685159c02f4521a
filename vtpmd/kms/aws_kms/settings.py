"""Settings of key provider type `aws-kms`."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from ..provider import KeyProvider
from ..settings import (
    KEY_PREFIX,
    HttpsUrl,
    KeyScope,
    KeyServiceSettings,
    PlainText,
    ReadFile,
    require_package,
)

AliasPrefix = Annotated[str, Field(pattern=r"^[A-Za-z0-9/_-]{1,128}$")]
KeyName = Annotated[str, Field(pattern=r"^[A-Za-z0-9:/_-]{1,2048}$")]


class AwsKmsSettings(KeyServiceSettings):
    """Keys of the AWS Key Management Service, with the credentials that the AWS SDK finds.

    `key_name` is a key's id, ARN or alias. AWS charges for every key: here `key_scope: instance`,
    whose keys have aliases that begin with `key_prefix`, has to be asked for. `endpoint` and the
    `ca` of its certificate take the place of the region's public ones.
    """

    region: Annotated[str, Field(pattern=r"^[a-z]{2,}(-[a-z0-9]+)+$")]
    endpoint: HttpsUrl | None = None
    ca: ReadFile | None = None
    profile: PlainText | None = None
    key_scope: KeyScope = "shared"
    key_prefix: AliasPrefix = KEY_PREFIX
    key_name: KeyName | None = None

    @model_validator(mode="after")
    def _installed(self) -> Self:
        require_package("botocore", "botocore", extra="aws")
        return self

    def open(self, state_dir: Path) -> KeyProvider:
        """Return the provider; credentials are looked for when it is first used."""
        from .client import Client, Service  # needs botocore, which takes long to import
        from .provider import AwsKmsProvider

        service = Service(self.region, self.timeout, self.endpoint, self.ca, self.profile)
        return AwsKmsProvider(self.name, Client(service), self.key_prefix, self.key_name)

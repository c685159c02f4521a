"""Settings of key provider type `kmip`."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from ..settings import KEY_PREFIX, KeyLabel, KeyServiceSettings, ReadFile
from ..tls import Credentials
from .client import Client
from .provider import KmipProvider
from .wrapping import Mode


class KmipSettings(KeyServiceSettings):
    """Keys at a key management server that speaks KMIP 1.4, reached with a client certificate.

    The names of instances' keys begin with `key_prefix`. `mode: get` fetches the key for every
    use, `encrypt` leaves it at the server, which then has to know AES-GCM.
    """

    host: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,253}$")]
    port: Annotated[int, Field(ge=1, le=65535)] = 5696
    ca: ReadFile
    certificate: ReadFile
    key: ReadFile
    mode: Mode = "get"
    key_prefix: KeyLabel = KEY_PREFIX
    key_name: KeyLabel | None = None

    def open(self, state_dir: Path) -> KmipProvider:
        """Return the provider, not yet connected."""
        credentials = Credentials(self.ca, self.certificate, self.key)
        client = Client(self.host, self.port, credentials, self.timeout)
        return KmipProvider(
            self.name, client, credentials, self.mode, self.key_prefix, self.key_name
        )

"""Settings of key provider type `vault`."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Discriminator, Field

from ..settings import KEY_PREFIX, HttpsUrl, KeyServiceSettings, PlainText, ReadFile, Section
from ..tls import Credentials
from .login import AppRoleLogin, CertificateLogin, Login, TokenLogin
from .provider import VaultProvider
from .server import Server
from .session import Session
from .transit import KEY_NAME

_MOUNT = r"[A-Za-z0-9_-]{1,64}"
MountPath = Annotated[str, Field(pattern=f"^{_MOUNT}(/{_MOUNT})*$")]
KeyName = Annotated[str, Field(pattern=f"^{KEY_NAME}$")]
KeyPrefix = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$")]


class AppRoleSettings(Section):
    """Log in with a role id and a secret id; the file with the latter may be a credential."""

    method: Literal["approle"]
    mount: MountPath = "approle"
    role_id: PlainText
    secret_id_file: ReadFile

    def identity(self, ca: Path) -> tuple[Credentials, Login]:
        """Who we are to TLS and to the server; `ca` issued the server's certificate."""
        return Credentials(ca), AppRoleLogin(self.mount, self.role_id, self.secret_id_file)


class CertificateSettings(Section):
    """Log in with a client certificate, as `role` or whichever role it fits."""

    method: Literal["cert"]
    mount: MountPath = "cert"
    role: PlainText | None = None
    certificate: ReadFile
    key: ReadFile

    def identity(self, ca: Path) -> tuple[Credentials, Login]:
        """Who we are to TLS and to the server; `ca` issued the server's certificate."""
        credentials = Credentials(ca, self.certificate, self.key)
        return credentials, CertificateLogin(self.mount, self.role)


class TokenSettings(Section):
    """Use a token that somebody else, such as an agent, keeps in a file."""

    method: Literal["token"]
    token_file: ReadFile

    def identity(self, ca: Path) -> tuple[Credentials, Login]:
        """Who we are to TLS and to the server; `ca` issued the server's certificate."""
        return Credentials(ca), TokenLogin(self.token_file)


class VaultSettings(KeyServiceSettings):
    """Keys in the Transit secrets engine, mounted at `mount`, of OpenBao or HashiCorp Vault.

    The names of instances' keys begin with `key_prefix`. `ca` issued the server's certificate.
    """

    url: HttpsUrl
    ca: ReadFile
    namespace: PlainText | None = None
    mount: MountPath = "transit"
    auth: Annotated[AppRoleSettings | CertificateSettings | TokenSettings, Discriminator("method")]
    key_prefix: KeyPrefix = KEY_PREFIX
    key_name: KeyName | None = None

    def open(self, state_dir: Path) -> VaultProvider:
        """Return the provider, not yet connected."""
        credentials, login = self.auth.identity(self.ca)
        server = Server(self.url, credentials, self.timeout, self.namespace)
        session = Session(server, login)
        return VaultProvider(self.name, session, self.mount, self.key_prefix, self.key_name)

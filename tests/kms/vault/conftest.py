"""One OpenBao server for all tests of a process, and providers that use it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kms import configured
from tests.kms.certificates import Authority
from tests.kms.closing import close_at_the_end
from tests.kms.vault.bao import Bao
from vtpmd.kms.vault.provider import VaultProvider

Opener = Callable[..., VaultProvider]
TIMEOUT = 20.0  # of real servers on a busy machine; hanging ones are tested with a clock of ours


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Bao]:
    server = Bao(tmp_path_factory.mktemp("bao"), authority)
    yield server
    server.stop()


@pytest.fixture
def bao(server: Bao) -> Iterator[Bao]:
    """The server with a derived key `vtpmd`, made anew for every test."""
    server.ask("POST", "transit/keys/vtpmd", {"derived": True})
    yield server
    server.delete("vtpmd")


@pytest.fixture
def secret(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a file that only we may read."""

    def write(text: str) -> Path:
        path = tmp_path / "secret"
        path.touch(0o600)
        path.write_text(f"{text}\n")
        return path

    return write


@pytest.fixture
def opened(authority: Authority, secret: Callable[[str], Path], tmp_path: Path) -> Opener:
    """Opens providers, of a real server with AppRole unless told otherwise."""

    def open_provider(bao: Bao | None = None, **settings: Any) -> VaultProvider:
        if settings.get("key_name"):
            settings["key_scope"] = "shared"
        if bao is not None:
            settings["url"] = bao.url
            if "auth" not in settings:
                settings["auth"] = app_role(bao, secret, settings.get("key_scope", "instance"))
        settings = {
            "type": "vault",
            "name": "vault1",
            "ca": str(authority.certificate),
            "timeout": TIMEOUT,
        } | settings
        provider = configured.opened(VaultProvider, settings, tmp_path)
        close_at_the_end(provider)
        return provider

    return open_provider


def app_role(bao: Bao, secret: Callable[[str], Path], role: str) -> dict[str, str]:
    """Settings for a login as this role."""
    file = secret(bao.secret_id(role))
    return {"method": "approle", "role_id": bao.role_id(role), "secret_id_file": str(file)}

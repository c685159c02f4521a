"""libvirtd in namespaces of its own, with directories of its own, on the host of one vtpmd.

It sees that vtpmd's sockets below /run/vtpmd, as on a host of its own, so that a machine's
description is the same wherever it goes. It has no /dev/kvm: nested hosts have one that does not
work, which libvirt takes a minute to find out.
"""

import os
import shutil
import signal
import subprocess
from pathlib import Path
from uuid import uuid4
from xml.etree import ElementTree

from tests.guest.errors import GuestError
from tests.peers.instance import wait_until
from tests.peers.vtpmd import Vtpmd
from vtpmd.cli.verbs.libvirt_xml import element

ROOT = Path(__file__).parents[2]
HOOK = ROOT / "examples" / "libvirt" / "qemu"
RUNTIME = "/run/vtpmd"
PATIENCE = 240.0
"""Seconds for one command of virsh on a machine that has much else to do."""
CACHE = ROOT / "build" / "libvirt"
"""What libvirt has found out about QEMU, which takes it half a minute."""
_PRIVATE = {
    "etc": "/etc/libvirt",
    "lib": "/var/lib/libvirt",
    "log": "/var/log/libvirt",
    "run": "/run",
}
_ENTER = """set -e
hostname {name}
for device in null zero full random urandom; do
    touch {directory}/dev/$device
    mount --bind /dev/$device {directory}/dev/$device
done
mount --rbind {directory}/dev /dev
{mounts}
mkdir -p {runtime}
mount --bind {sockets} {runtime}
exec libvirtd --config {directory}/etc/libvirtd.conf
"""
_DAEMON = """unix_sock_dir = "{directory}/sock"
unix_sock_group = "root"
unix_sock_rw_perms = "0700"
auth_unix_ro = "none"
auth_unix_rw = "none"
host_uuid = "{uuid}"
"""
_DRIVER = """user = "nobody"
group = "nogroup"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
"""
_DOMAIN = """<domain type='qemu'>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <memory unit='MiB'>256</memory>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <kernel>{image}/vmlinuz</kernel>
    <initrd>{image}/initramfs.img</initrd>
    <cmdline>console=ttyS0 loglevel=4 vtpm.test=shell</cmdline>
  </os>
  <features><acpi/></features>
  <cpu mode='custom' match='minimum' check='none'>
    <model fallback='forbid'>qemu64</model>
    <feature policy='require' name='rdrand'/>
  </cpu>
  <on_crash>destroy</on_crash>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source file='{disk}'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <controller type='usb' model='none'/>
    <serial type='unix'>
      <source mode='bind' path='{serial}'/>
      <target port='0'/>
    </serial>
    <memballoon model='none'/>
    {tpm}
  </devices>
</domain>
"""


def missing() -> str:
    """Why libvirt cannot be used here, empty if it can."""
    if os.geteuid() != 0:
        return "libvirtd in namespaces of its own wants root"
    if absent := [name for name in ("libvirtd", "virsh", "qemu-img") if not shutil.which(name)]:
        return f"{' and '.join(absent)} not installed"
    probe = ["unshare", "--mount", "--uts", "mount", "--bind", "/tmp", "/tmp"]
    if subprocess.run(probe, capture_output=True).returncode:
        return "no mount namespaces"
    return ""


class Libvirt:
    """A libvirtd, and the vtpmd whose hook it calls if `hook` says so."""

    def __init__(self, directory: Path, daemon: Vtpmd, name: str, *, hook: bool = False) -> None:
        self.directory, self.daemon = directory, daemon
        self.uri = f"qemu+unix:///system?socket={directory}/sock/libvirt-sock"
        for each in (*_PRIVATE, "dev", "sock", "incoming"):
            (directory / each).mkdir(parents=True)
        (directory / "incoming").chmod(0o777)  # QEMU listens there, as another user
        etc = directory / "etc"
        (etc / "libvirtd.conf").write_text(_DAEMON.format(directory=directory, uuid=uuid4()))
        (etc / "qemu.conf").write_text(_DRIVER)
        if hook:
            (etc / "hooks" / "qemu.d").mkdir(parents=True)
            shutil.copy(HOOK, etc / "hooks" / "qemu.d" / "vtpmd")
        CACHE.mkdir(parents=True, exist_ok=True)
        mounts = [f"mount --bind {directory / own} {there}" for own, there in _PRIVATE.items()]
        mounts.append(f"mount --bind {CACHE} /var/cache/libvirt")
        script = _ENTER.format(
            name=name,
            mounts="\n".join(mounts),
            runtime=RUNTIME,
            sockets=daemon.runtime,
            directory=directory,
        )
        with (directory / "libvirtd.out").open("wb") as log:
            self._process = subprocess.Popen(
                ["unshare", "--mount", "--uts", "sh", "-c", script],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | {"PATH": f"{daemon.commands}:{os.environ['PATH']}"},
            )
        wait_until(self._answers, "libvirtd answers", 30)

    def _answers(self) -> bool:
        if self._process.poll() is not None:
            raise GuestError(f"libvirtd ended: {(self.directory / 'libvirtd.out').read_text()}")
        return self.asked("version").returncode == 0

    def asked(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run virsh."""
        command = ["virsh", "--quiet", "--connect", self.uri, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)

    def virsh(self, *arguments: str) -> str:
        """What virsh says; GuestError when it fails."""
        done = self.asked(*arguments)
        if done.returncode:
            raise GuestError(f"virsh {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout.strip()

    def close(self) -> None:
        """End it and its machines."""
        if self._process.poll() is None:
            for name in self.virsh("list", "--name").split():
                self.asked("destroy", name)
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(30)


def described(directory: Path, image: Path, name: str, uuid: str, model: str) -> str:
    """The description of a machine with a disk of its own in `directory` and the TPM `name`."""
    disk = directory / f"{name}.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", disk, "1M"], check=True)
    disk.chmod(0o666)
    text = _DOMAIN.format(
        name=name,
        uuid=uuid,
        image=image,
        disk=disk,
        serial=f"/run/{name}.serial",
        tpm=element(f"{RUNTIME}/{name}.sock.ctrl", model),
    )
    ElementTree.fromstring(text)
    return text

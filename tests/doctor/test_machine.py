"""Checks of the host itself."""

import lzma
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vtpmd.doctor import firmware, machine
from vtpmd.doctor.apparmor import look as look_at_apparmor
from vtpmd.doctor.finding import Found, examine
from vtpmd.doctor.machine import CHECKS, Machine
from vtpmd.linux import clock, kernel

RUN = Path("/run/vtpmd")
PACKAGED = Path(__file__).parents[2] / "packaging/apparmor/vtpmd"


def found(name: str) -> list[tuple[str, str, str]]:
    checks = [check for check in CHECKS if check.name == name]
    return [(each.verdict, each.reason, each.remedy) for each in examine(checks, Machine(RUN))]


def test_this_host_is_looked_at() -> None:
    findings = examine(CHECKS, Machine(RUN))
    assert {each.check for each in findings} == {check.name for check in CHECKS}
    assert all(bool(each.remedy) is (each.verdict in ("warning", "bad")) for each in findings)
    assert found("Python") == [("ok", f"Python {platform.python_version()} ({sys.executable})", "")]


@pytest.mark.parametrize(
    ("release", "verdict"),
    [("5.12.19", "bad"), ("5.13.0-rc1", "ok"), ("6.1-13-amd64", "ok"), ("4", "bad")],
)
def test_the_kernel_s_version(monkeypatch: pytest.MonkeyPatch, release: str, verdict: str) -> None:
    monkeypatch.setattr(platform, "release", lambda: release)
    ((judged, reason, _),) = found("kernel")
    assert (judged, reason.split()[1]) == (verdict, release)


def test_a_kernel_without_landlock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "landlock_abi", lambda: 0)
    ((verdict, _, remedy),) = found("Landlock")
    assert (verdict, "lsm=landlock" in remedy) == ("bad", True)


@pytest.mark.parametrize(("synchronised", "verdict"), [(True, "ok"), (False, "warning")])
def test_the_clock(monkeypatch: pytest.MonkeyPatch, synchronised: bool, verdict: str) -> None:
    assert isinstance(clock.synchronised(), bool)
    monkeypatch.setattr(clock, "synchronised", lambda: synchronised)
    assert found("clock")[0][0] == verdict


def refuse() -> bool:
    raise PermissionError(1, "Operation not permitted")


def test_a_clock_that_nobody_may_look_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "synchronised", refuse)
    assert found("clock")[0][0] == "unknown"


@pytest.mark.parametrize(
    ("version", "backends", "verdict", "text"),
    [
        ("9.1.0", "passthrough emulator", "ok", "QEMU 9.1.0, with the TPM backend emulator"),
        ("9.1.0", "passthrough", "bad", "no TPM backend `emulator`"),
        ("2.11.2", "emulator", "bad", "is QEMU 2.11.2"),
    ],
)
def test_qemu(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    version: str,
    backends: str,
    verdict: str,
    text: str,
) -> None:
    program = tmp_path / "qemu-system-x86_64"
    program.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && echo "QEMU emulator version {version} (x)" && exit\n'
        f"echo {backends}; exit 1\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr(machine, "_EMULATORS", (str(program),))
    ((judged, reason, _),) = found("QEMU")
    assert (judged, text in reason) == (verdict, True)
    program.write_text("neither script nor program")
    assert found("QEMU")[0][0] == "unknown"
    program.unlink()
    assert found("QEMU") == [
        (
            "warning",
            "no QEMU is installed here",
            "install qemu-system-x86 to run virtual machines here",
        )
    ]


def build(path: Path, *drivers: str) -> Path:
    """A firmware whose volume names these drivers, and octets that only look like a volume."""
    path.parent.mkdir(parents=True, exist_ok=True)
    volume = b"\xff" * 100 + b"".join(name.encode("utf-16-le") + b"\0\0" for name in drivers)
    packed = lzma.compress(volume, lzma.FORMAT_ALONE)
    guid = bytes.fromhex("98584eee143959429d6edc7bd79403cf")
    section = bytes(4) + guid + (24).to_bytes(2, "little") + b"\x01\x00" + packed
    path.write_bytes(bytes(64) + guid + b"\x18\0no volume at all" + section + bytes(32))
    return path


def test_firmware_with_and_without_tpm2(tmp_path: Path) -> None:
    debian = tmp_path / "usr/share/OVMF"
    assert [each.verdict for each in firmware.look(tmp_path)] == ["warning"]
    build(debian / "OVMF_CODE_4M.fd", "DxeCore", "Tcg2Dxe")
    (debian / "OVMF_CODE_4M.ms.fd").symlink_to("OVMF_CODE_4M.fd")
    (good,) = firmware.look(tmp_path)
    assert good == Found("ok", f"OVMF_CODE_4M.fd in {debian}: with TPM 2.0")
    build(debian / "OVMF_CODE.fd", "DxeCore", "TcgDxe")
    (debian / "OVMF_CODE_none.fd").write_bytes(b"\xff" * 1000)
    verdicts = {each.verdict: each.reason for each in firmware.look(tmp_path)}
    assert set(verdicts) == {"ok", "bad", "unknown"}
    assert verdicts["bad"] == f"{debian}/OVMF_CODE.fd was built without TPM 2.0"


def test_a_volume_without_end_takes_no_memory(tmp_path: Path) -> None:
    """The firmware is a file of others: what it unpacks to is bounded."""
    path = build(tmp_path / "f", "Tcg2Dxe")
    packed = lzma.compress(bytes(firmware._MAX_VOLUME + (1 << 20)), lzma.FORMAT_ALONE)
    path.write_bytes(path.read_bytes()[: 64 + 16 + 18 + 24] + packed)
    assert firmware.has_tpm2(path) is False


@pytest.fixture
def profiles(tmp_path: Path) -> Path:
    """A host with AppArmor and libvirt's profiles."""
    for path, text in (
        ("sys/module/apparmor/parameters/enabled", "Y\n"),
        ("etc/apparmor.d/abstractions/libvirt-qemu", "  /dev/kvm rw,\n  capability setuid,\n"),
    ):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("rule", "verdict"),
    [
        ("", "bad"),
        ("  /run/vtpmd/*.sock.ctrl rw,", "ok"),
        ('  "/run/vtpmd/*.sock.ctrl" rw,', "ok"),
        ("  owner @{run}/vtpmd/** rwk,", "ok"),
        ("  /{,var/}run/vtpmd/web?.sock{,.ctrl} rw,", "ok"),
        ("  /run/vtpmd/*.sock.ctrl r,", "bad"),
        ("  # /run/vtpmd/*.sock.ctrl rw,", "bad"),
        ("  /run/*.sock.ctrl rw,", "bad"),
        ("  /run/vtpmd/{*.sock.ctrl rw,", "bad"),
    ],
)
def test_apparmor(profiles: Path, rule: str, verdict: str) -> None:
    local = profiles / "etc/apparmor.d/local/abstractions/libvirt-qemu"
    local.parent.mkdir(parents=True)
    local.write_text(f"{rule}\n")
    judged = look_at_apparmor(profiles, RUN)
    assert judged.verdict == verdict
    if verdict == "bad":
        line = judged.remedy.split("`")[1]
        local.write_text(f"{line}\n")
        assert look_at_apparmor(profiles, RUN).verdict == "ok"


@pytest.mark.parametrize(
    ("line", "verdict"),
    [
        ("  include if exists <abstractions/libvirt-qemu.d>", "ok"),
        ("  #include <abstractions/libvirt-qemu.d>", "ok"),  # an old spelling, no comment
        ("  # include <abstractions/libvirt-qemu.d>", "bad"),
        ("", "bad"),  # libvirt of Debian 12
    ],
)
def test_the_package_s_rule_counts_where_it_is_included(
    profiles: Path, line: str, verdict: str
) -> None:
    directory = profiles / "etc/apparmor.d/abstractions/libvirt-qemu.d"
    directory.mkdir()
    shutil.copy(PACKAGED, directory)
    with (profiles / "etc/apparmor.d/abstractions/libvirt-qemu").open("a") as file:
        file.write(f"{line}\n")
    assert look_at_apparmor(profiles, RUN).verdict == verdict


@pytest.mark.skipif(
    shutil.which("apparmor_parser", path="/usr/sbin:/sbin") is None,
    reason="apparmor is not installed",
)
def test_apparmor_reads_the_package_s_rule(tmp_path: Path) -> None:
    profile = tmp_path / "profile"
    included = f'#include <tunables/global>\nprofile machine {{\n  include "{PACKAGED}"\n}}\n'
    profile.write_text(included)
    shown = subprocess.run(
        ["/usr/sbin/apparmor_parser", "--skip-kernel-load", "--skip-cache", "--debug", profile],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert re.search(r"rwa?:\S+\s+Name:\s+\(\S*/vtpmd/\*\.sock\.ctrl\)", shown.stdout)


def test_apparmor_that_is_off_or_has_no_profiles(profiles: Path) -> None:
    enabled = profiles / "sys/module/apparmor/parameters/enabled"
    enabled.write_text("N\n")
    assert look_at_apparmor(profiles, RUN) == Found("ok", "AppArmor is not in use")
    enabled.unlink()
    assert look_at_apparmor(profiles, RUN) == Found("ok", "AppArmor is not in use")
    enabled.write_text("Y\n")
    (profiles / "etc/apparmor.d/abstractions/libvirt-qemu").unlink()
    assert look_at_apparmor(profiles, RUN).verdict == "ok"

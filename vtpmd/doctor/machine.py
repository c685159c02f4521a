"""What the host has to have, whoever looks: kernel, Python, libraries, QEMU, firmware, clock."""

import ctypes
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vtpmd.linux import clock, kernel, secret_memory

from . import apparmor, firmware
from .finding import Check, Found, bad, ok, unknown, warning

OLDEST_KERNEL: Final = (5, 13)
OLDEST_PYTHON: Final = (3, 11)
OLDEST_QEMU: Final = (2, 12)
"""The first with the backend `emulator` and the device tpm-crb."""
_QEMU_TIMEOUT: Final = 10.0
_EMULATORS: Final = ("qemu-system-x86_64", "qemu-kvm", "kvm", "/usr/libexec/qemu-kvm")


@dataclass(frozen=True)
class Machine:
    """Where to look: below `root`, and for the socket that QEMU is to reach in `runtime_dir`."""

    runtime_dir: Path
    root: Path = Path("/")


def _kernel(_: Machine) -> Found:
    release = platform.release()
    if _version(release) < OLDEST_KERNEL:
        return bad(
            f"Linux {release} is older than {_dotted(OLDEST_KERNEL)}, the first with Landlock",
            "install a newer kernel, or set sandbox: best-effort",
        )
    return ok(f"Linux {release}")


def _landlock(_: Machine) -> Found:
    abi = kernel.landlock_abi()
    if abi:
        return ok(f"Landlock ABI {abi}")
    return bad(
        "the kernel offers no Landlock, which keeps a worker from every file",
        "add landlock to the kernel's command line (lsm=landlock,…) and boot, or permit the "
        "landlock_ system calls where vtpmd runs in a container, or set sandbox: best-effort",
    )


def _python(_: Machine) -> Found:
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < OLDEST_PYTHON:
        return bad(f"Python {found} is too old", f"install Python {_dotted(OLDEST_PYTHON)}")
    return ok(f"Python {found} ({sys.executable})")


def _libseccomp(_: Machine) -> Found:
    try:
        ctypes.CDLL("libseccomp.so.2")
    except OSError:
        return bad(
            "libseccomp.so.2 is not installed: no worker can limit its system calls",
            "install libseccomp2 (Debian) or libseccomp (Fedora)",
        )
    return ok("libseccomp 2 is installed")


def _secret_memory(_: Machine) -> Found:
    try:
        secret_memory.demand()
    except OSError as error:
        return unknown(
            f"no secret memory ({error.strerror}): keys of TPMs that sleep are kept from being "
            "swapped out, but not from the kernel; Linux 5.14 has it, unless secretmem.enable=0"
        )
    return ok("keys of TPMs that sleep lie in secret memory")


def _clock(_: Machine) -> Found:
    try:
        synchronised = clock.synchronised()
    except OSError as error:
        return unknown(f"the kernel does not tell whether its clock is right: {error.strerror}")
    if not synchronised:
        return warning(
            "nothing keeps the clock right: certificates and times in the log depend on it",
            "enable chrony or systemd-timesyncd",
        )
    return ok("something keeps the clock right")


def _qemu(_: Machine) -> Iterator[Found]:
    found = [path for path in map(shutil.which, _EMULATORS) if path is not None]
    if not found:
        yield warning(
            "no QEMU is installed here", "install qemu-system-x86 to run virtual machines here"
        )
    for path in dict.fromkeys(map(os.path.realpath, found)):
        yield _emulator(path)


def _emulator(path: str) -> Found:
    try:
        backends = _said(path, "-tpmdev", "help")
        first = _said(path, "--version").partition("\n")[0]
    except (OSError, subprocess.TimeoutExpired) as error:
        return unknown(f"{path} cannot be run: {error}")
    version = next((word for word in first.split() if word[:1].isdigit()), "")
    if "emulator" not in backends.split():
        return bad(
            f"{path} has no TPM backend `emulator`",
            "install one that was built with --enable-tpm",
        )
    if version and _version(version) < OLDEST_QEMU:
        return bad(f"{path} is QEMU {version}", f"install QEMU {_dotted(OLDEST_QEMU)} or later")
    return ok(f"{path} is QEMU {version}, with the TPM backend emulator")


def _said(*command: str) -> str:
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=_QEMU_TIMEOUT,
        check=False,
    )
    return done.stdout.decode(errors="replace")


def _version(text: str) -> tuple[int, ...]:
    """The leading numbers of a version: (6, 1) of "6.1.0-13-amd64"."""
    numbers = []
    for part in text.split(".")[:2]:
        digits = "".join(char for char in part if char.isdigit())
        numbers.append(int(digits or 0))
    return tuple(numbers)


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


CHECKS: Final[tuple[Check[Machine], ...]] = (
    Check("kernel", _kernel),
    Check("Landlock", _landlock),
    Check("Python", _python),
    Check("libseccomp", _libseccomp),
    Check("secret memory", _secret_memory),
    Check("clock", _clock),
    Check("QEMU", _qemu),
    Check("firmware", lambda machine: firmware.look(machine.root)),
    Check("AppArmor", lambda machine: apparmor.look(machine.root, machine.runtime_dir)),
)

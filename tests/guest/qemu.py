"""One QEMU process: its command line, its serial console and its end."""

import contextlib
import os
import re
import select
import shlex
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.guest.console import Record, Results
from tests.guest.errors import GuestError
from tests.guest.options import OVMF_VARIABLES, QEMU, Options
from tests.guest.qmp import Qmp


def kvm_works(firmware: Path | None) -> bool:
    """Whether KVM can run real firmware here.

    Answering KVM_CREATE_VM does not tell: some nested hosts do and then fail in the first
    instructions. So a machine runs for a second.
    """
    try:
        if not re.search(r"^flags\s*:.*\b(vmx|svm)\b", Path("/proc/cpuinfo").read_text(), re.M):
            return False
        os.close(os.open("/dev/kvm", os.O_RDWR))
    except OSError:
        return False
    ours, theirs = socket.socketpair()
    command = [QEMU, "-machine", "q35,accel=kvm", "-cpu", "host", "-m", "256", "-nodefaults"]
    command += ["-display", "none", "-chardev", f"socket,id=m,fd={theirs.fileno()}"]
    command += ["-mon", "chardev=m,mode=control"]
    if firmware:
        command += ["-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={firmware}"]
    with theirs:
        probe = subprocess.Popen(
            command,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    try:
        monitor = Qmp(ours)
        time.sleep(1.0)
        return bool(monitor.command("query-status")["status"] == "running")
    except (GuestError, OSError):
        return False
    finally:
        probe.kill()
        probe.wait()
        ours.close()


def firmware_arguments(options: Options, directory: Path, number: int) -> list[str]:
    """The firmware's code and a copy of its variables, kept for the machine's next start."""
    if options.firmware is None:
        return []
    variables = directory / f"vars{number}"
    if not variables.exists():
        _copy_variables(options, options.firmware, variables)
    arguments = []
    if options.system_management_mode:
        arguments += ["-global", "driver=cfi.pflash01,property=secure,value=on"]
    code = f"if=pflash,unit=0,format=raw,readonly=on,file={options.firmware}"
    store = f"if=pflash,unit=1,format={options.variables_format},file={variables}"
    return [*arguments, "-drive", code, "-drive", store]


def _copy_variables(options: Options, firmware: Path, target: Path) -> None:
    template = options.variables
    if template is None:
        name = firmware.name.replace("_CODE", "_VARS").replace(".secboot", "")
        template = firmware.with_name(name)
        if not template.exists():
            template = OVMF_VARIABLES
    if options.variables_format == "raw":
        shutil.copyfile(template, target)
        target.chmod(0o600)
    else:
        convert = ["qemu-img", "convert", "-f", "raw", "-O", options.variables_format]
        subprocess.run([*convert, str(template), str(target)], check=True)


def boot_arguments(options: Options, directory: Path) -> list[str]:
    """How the kernel is found, with the scenario on its command line."""
    append = f"console=ttyS0 {options.append} vtpm.test={options.scenario}"
    if options.boot == "direct":
        kernel, initramfs = str(options.kernel), str(options.initramfs)
        return ["-kernel", kernel, "-initrd", initramfs, "-append", append]
    # A directory that QEMU shows as a FAT disk; the UEFI shell boots from it.
    disk = directory / "esp"
    if not disk.exists():
        disk.mkdir()
        shutil.copyfile(options.kernel, disk / "vmlinuz.efi")
        shutil.copyfile(options.initramfs, disk / "initrd.img")
        script = f"fs0:\\vmlinuz.efi initrd=\\initrd.img {append}\r\n"
        (disk / "startup.nsh").write_bytes(script.encode())
    drive = f"if=none,id=esp,format=raw,readonly=on,file=fat:{disk}"
    return ["-drive", drive, "-device", "virtio-blk-pci,drive=esp"]


def tpm_arguments(socket_path: Path, model: str) -> list[str]:
    return [
        *("-chardev", f"socket,id=chrtpm,path={socket_path}"),
        *("-tpmdev", "emulator,id=tpm0,chardev=chrtpm"),
        *("-device", f"tpm-{model},tpmdev=tpm0"),
    ]


class Machine:
    """A running QEMU; raises GuestError whenever it, or its guest, does not do what it should."""

    def __init__(
        self,
        options: Options,
        results: Results,
        accelerator: str,
        directory: Path,
        number: int,
        tpm: list[str],
        deadline: float,
        incoming: str | None = None,
    ) -> None:
        self.number, self.deadline = number, deadline
        self._options, self._results, self._accelerator = options, results, accelerator
        self._tail = b""
        self.serial, serial = socket.socketpair()
        monitor, monitor_of_qemu = socket.socketpair()
        smm = "on" if options.system_management_mode else "off"
        command = [
            *(QEMU, "-name", f"vtpm-guest-{number}", "-no-user-config", "-nodefaults"),
            *("-display", "none", "-m", str(options.memory), "-smp", "1"),
            *("-machine", f"q35,accel={accelerator},smm={smm}"),
            *("-cpu", "host" if accelerator == "kvm" else options.cpu),
            *firmware_arguments(options, directory, number),
            *boot_arguments(options, directory),
            *("-chardev", f"socket,id=ser0,fd={serial.fileno()}", "-serial", "chardev:ser0"),
            *("-chardev", f"socket,id=mon0,fd={monitor_of_qemu.fileno()}"),
            *("-mon", "chardev=mon0,mode=control"),
            *tpm,
            *(("-incoming", incoming) if incoming else ()),
            *options.qemu_arguments,
        ]
        results.note(f"qemu {number}: " + ("incoming" if incoming else "start"))
        if options.verbose:
            print("+", shlex.join(command), file=sys.stderr)
        self._errors = directory / f"qemu{number}.err"
        with serial, monitor_of_qemu, self._errors.open("ab") as errors:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                pass_fds=[serial.fileno(), monitor_of_qemu.fileno()],
            )
        self._monitor = monitor
        try:
            self.qmp = Qmp(monitor)
        except (GuestError, OSError):
            self.close()
            raise GuestError(f"QEMU did not start: {self.complaint()}") from None

    def complaint(self) -> str:
        """What QEMU wrote to its standard error."""
        return self._errors.read_text(errors="replace").strip() or "(it said nothing)"

    def follow(self, *kinds: str, seconds: float | None = None) -> Record | None:
        """Read the console until a record of one of these kinds; None after `seconds` without."""
        until = time.monotonic() + seconds if seconds else self.deadline
        while True:
            while b"\n" in self._tail:
                line, self._tail = self._tail.split(b"\n", 1)
                record = self._results.line(line.decode("utf-8", "replace"))
                if record and record.kind in kinds:
                    return record
            left = min(until, self.deadline) - time.monotonic()
            awaited = f"the guest's {' or '.join(kinds)}"
            if left <= 0:
                if until < self.deadline:
                    return None
                raise GuestError(f"timeout of {self._options.timeout:.0f} s waiting for {awaited}")
            self._read_console(min(left, 1.0), awaited)

    def _read_console(self, timeout: float, awaited: str) -> None:
        if not select.select([self.serial], [], [], timeout)[0]:
            if self._accelerator == "kvm" and "KVM internal error" in self.complaint():
                raise GuestError("KVM internal error: this host's KVM cannot run the guest")
            if self.process.poll() is None:
                return
            data = b""
        else:
            data = self.serial.recv(65536)
        if not data:
            code = self.process.wait(10)
            raise GuestError(f"QEMU ended ({code}) before {awaited}: {self.complaint()}")
        self._results.raw(data)
        self._tail += data

    def say(self, text: str) -> None:
        self.serial.sendall(text.encode() + b"\n")

    def gone(self, timeout: float = 30) -> None:
        """Wait for QEMU's own end, recording what the console still says."""
        deadline = time.monotonic() + timeout
        while self.process.poll() is None:
            if time.monotonic() > deadline:
                raise GuestError("QEMU does not end")
            if select.select([self.serial], [], [], 0.1)[0]:
                with contextlib.suppress(OSError):
                    self._results.raw(self.serial.recv(65536))
        code = self.process.returncode
        self._results.note(f"qemu {self.number}: ended ({code})")
        if code:
            raise GuestError(f"QEMU ended with {code}: {self.complaint()}")

    def quit(self) -> None:
        with contextlib.suppress(GuestError, OSError):
            self.qmp.command("quit")
        self.gone()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """End QEMU if it still runs."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.kill()
        self.serial.close()
        self._monitor.close()

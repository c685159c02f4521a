"""What a run of the guest may be told."""

import os
from dataclasses import dataclass, field
from pathlib import Path

OVMF = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
OVMF_VARIABLES = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
QEMU = os.environ.get("QEMU", "qemu-system-x86_64")


@dataclass(frozen=True)
class Options:
    guest: Path
    """Directory with the image's vmlinuz and initramfs.img."""
    scenario: str = "smoke"
    model: str = "crb"
    """QEMU's device: "crb" or "tis"."""
    accelerator: str = "auto"
    """"auto", "kvm" or "tcg"."""
    cpu: str = "qemu64,+rdrand"
    """CPU model under TCG."""
    memory: int = 384
    """MiB."""
    firmware: Path | None = OVMF
    """None is QEMU's own, SeaBIOS."""
    variables: Path | None = None
    """Template of the firmware's variables; by the firmware's name when None."""
    boot: str = "direct"
    """"direct": the kernel comes from QEMU; "disk": by the UEFI shell from a FAT disk."""
    timeout: float = 180.0
    """Seconds for the whole run."""
    log: Path = Path(os.devnull)
    """Where the serial console's text goes."""
    trace: Path | None = None
    append: str = "loglevel=6"
    """More kernel arguments."""
    qemu_arguments: list[str] = field(default_factory=list)
    tpm_arguments: list[str] | None = None
    """QEMU's arguments for the first machine's TPM, when somebody else says them."""
    verbose: bool = False
    other_kernel: Path | None = None
    """In the place of the image's."""

    @property
    def kernel(self) -> Path:
        return self.other_kernel or self.guest / "vmlinuz"

    @property
    def initramfs(self) -> Path:
        return self.guest / "initramfs.img"

    @property
    def system_management_mode(self) -> bool:
        """Secure Boot builds of OVMF need it."""
        if self.firmware is None:
            return False
        return "secboot" in str(self.firmware.resolve()) or ".ms" in self.firmware.name

    @property
    def variables_format(self) -> str:
        """savevm wants the firmware's variables in qcow2."""
        return "qcow2" if self.scenario == "snapshot" else "raw"

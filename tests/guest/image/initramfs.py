"""Collect the guest's files and write them as a reproducible newc archive.

    initramfs.py WORK ARCHIVE

WORK holds the unpacked packages: `sysroot` (userland), `busybox`, and the kernel's modules
under `lib/modules`. The same packages give the same bytes.
"""

import stat
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

PARTS = (
    "report",
    "boot",
    "functions",
    "attest",
    "windows",
    "volatile",
    "post_quantum",
    "scenarios",
)
DIRECTORIES = ("dev", "proc", "sys", "tmp", "run", "etc", "root", "sbin", "usr/bin", "usr/sbin")
LIBRARIES = "lib/x86_64-linux-gnu"


class Archive:
    """The files of the guest, by name: mode, content and device number."""

    def __init__(self) -> None:
        self.files: dict[str, tuple[int, bytes, tuple[int, int]]] = {}

    def directory(self, name: str) -> None:
        if name not in (".", "") and name not in self.files:
            self.directory(str(Path(name).parent))
            self.files[name] = (stat.S_IFDIR | 0o755, b"", (0, 0))

    def file(self, name: str, data: bytes, mode: int = 0o644) -> None:
        self.directory(str(Path(name).parent))
        self.files[name] = (stat.S_IFREG | mode, data, (0, 0))

    def link(self, name: str, target: str) -> None:
        self.directory(str(Path(name).parent))
        self.files[name] = (stat.S_IFLNK | 0o777, target.encode(), (0, 0))

    def character_device(self, name: str, number: tuple[int, int]) -> None:
        self.directory(str(Path(name).parent))
        self.files[name] = (stat.S_IFCHR | 0o600, b"", number)

    def write(self, out: BinaryIO) -> None:
        for inode, name in enumerate(sorted(self.files), 1):
            mode, data, number = self.files[name]
            _write_entry(out, inode, name, mode, data, number)
        _write_entry(out, 0, "TRAILER!!!", 0, b"", (0, 0))


def _write_entry(
    out: BinaryIO, inode: int, name: str, mode: int, data: bytes, number: tuple[int, int]
) -> None:
    head = [inode, mode, 0, 0, 1, 0, len(data), 0, 0, *number, len(name) + 1, 0]
    for part in (b"070701" + b"".join(b"%08X" % v for v in head) + name.encode() + b"\0", data):
        out.write(part)
        out.write(bytes(-out.tell() % 4))


def shared_libraries(root: Path, directories: list[Path], elf_files: list[Path]) -> dict[str, Path]:
    """The closure of shared libraries, as the guest's own dynamic loader sees it."""
    loader = next(p for d in directories for p in d.glob("ld-linux-x86-64.so.2"))
    closure: dict[str, Path] = {}
    for elf in elf_files:
        listing = subprocess.run(
            [str(loader), "--library-path", ":".join(map(str, directories)), "--list", str(elf)],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for line in listing.splitlines():
            name, arrow, rest = line.strip().partition(" => ")
            if not arrow:
                continue
            if "not found" in rest:
                sys.exit(f"guest image: {elf.name} needs {name}, found in no package")
            path = Path(rest.rsplit(" (", 1)[0])
            if not path.resolve().is_relative_to(root.resolve()):
                sys.exit(f"guest image: {name} resolved outside the packages: {path}")
            closure[Path(name).name] = path
    closure["ld-linux-x86-64.so.2"] = loader
    return closure


def collect(work: Path, scripts: Path) -> Archive:
    root = work / "sysroot"
    directories = [d for d in (root / LIBRARIES, root / "usr" / LIBRARIES) if d.is_dir()]
    tools = root / "usr/bin/tpm2"
    tcti = next(p for d in directories for p in d.glob("libtss2-tcti-device.so.0"))
    busybox = next((work / "busybox").glob("**/bin/busybox"))

    archive = Archive()
    for name in DIRECTORIES:
        archive.directory(name)
    archive.character_device("dev/console", (5, 1))
    archive.file("init", (scripts / "init.sh").read_bytes(), 0o755)
    for part in PARTS:
        archive.file(f"lib/guest/{part}.sh", (scripts / f"{part}.sh").read_bytes())
    archive.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n")
    archive.file("bin/busybox", busybox.read_bytes(), 0o755)
    applets = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True)
    for applet in sorted(set(applets.stdout.split()) - {"busybox", "init"}):
        archive.link(f"bin/{applet}", "busybox")
    archive.file("usr/bin/tpm2", tools.read_bytes(), 0o755)
    libraries = shared_libraries(root, directories, [tools, tcti])
    archive.file(
        "lib64/ld-linux-x86-64.so.2", libraries.pop("ld-linux-x86-64.so.2").read_bytes(), 0o755
    )
    for name, path in {**libraries, tcti.name: tcti}.items():
        archive.file(f"{LIBRARIES}/{name}", path.read_bytes(), 0o755)
    for module in work.glob("**/efivarfs.ko*"):
        archive.file(f"lib/modules/{module.name}", module.read_bytes())
    return archive


def main() -> None:
    work, output = Path(sys.argv[1]), Path(sys.argv[2])
    with output.open("wb") as out:
        collect(work, Path(__file__).parent).write(out)


if __name__ == "__main__":
    main()

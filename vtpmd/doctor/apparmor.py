"""Whether AppArmor lets a QEMU that libvirt starts reach the sockets.

libvirt's virt-aa-helper makes a profile for each machine from `abstractions/libvirt-qemu`, and puts
nothing into it for a TPM of the type `external`. So a rule for the sockets has to be in one of the
files that the administrator may add to.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from .finding import Found, bad, ok, unknown

_ENABLED: Final = Path("sys/module/apparmor/parameters/enabled")
_ABSTRACTION: Final = Path("etc/apparmor.d/abstractions/libvirt-qemu")
_LOCAL: Final = Path("etc/apparmor.d/local/abstractions/libvirt-qemu")
_DIRECTORY: Final = "abstractions/libvirt-qemu.d"
_INCLUDED: Final = re.compile(rf"^\s*#?include\s+(?:if exists\s+)?<{_DIRECTORY}>", re.MULTILINE)
_FILES: Final = (
    str(_ABSTRACTION),
    str(_LOCAL),
    "etc/apparmor.d/libvirt/TEMPLATE.qemu",
    "etc/apparmor.d/local/usr.lib.libvirt.virt-aa-helper",
)
_RULE: Final = re.compile(r'^\s*(?:owner\s+)?"?((?:/|@\{)[^"\s]*)"?\s+([a-zA-Z]+)\s*,')
_VARIABLES: Final = {"@{run}": "{/run,/var/run}", "@{RUN}": "{/run,/var/run}"}


def look(root: Path, runtime_dir: Path) -> Found:
    """What the profiles below `root` say of a control socket in `runtime_dir`."""
    try:
        enabled = (root / _ENABLED).read_text().strip() == "Y"
    except FileNotFoundError:
        return ok("AppArmor is not in use")
    if not enabled:
        return ok("AppArmor is not in use")
    if not (root / _ABSTRACTION).exists():
        return ok("there are no profiles of libvirt's for QEMU")
    socket = runtime_dir / "web1.sock.ctrl"
    try:
        texts = [path.read_text() for place in _FILES for path in sorted(root.glob(place))]
        if any(map(_INCLUDED.search, texts)):  # libvirt's own abstraction does since 10.6
            added = sorted(root.glob(f"etc/apparmor.d/{_DIRECTORY}/*"))
            texts += [path.read_text() for path in added]
    except OSError as error:
        return unknown(f"{error.filename}: {error.strerror}", "run vtpmctl doctor as root")
    if any(permits(text, socket) for text in texts):
        return ok(f"libvirt's profiles let QEMU connect to {socket.parent}/*.sock.ctrl")
    return bad(
        f"libvirt's profiles do not let QEMU connect to {socket.parent}/*.sock.ctrl",
        f'add the line `"{socket.parent}/*.sock.ctrl" rw,` to /{_LOCAL}, and start machines anew',
    )


def permits(text: str, path: Path) -> bool:
    """Whether a rule in the text of a profile lets its program read and write `path`."""
    return any(
        {"r", "w"} <= set(rights) and _pattern(glob).fullmatch(str(path))
        for glob, rights in _rules(text)
    )


def _rules(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        if (rule := _RULE.match(line)) is not None:
            glob = rule[1]
            for name, value in _VARIABLES.items():
                glob = glob.replace(name, value)
            yield glob, rule[2]


def _pattern(glob: str) -> re.Pattern[str]:
    """AppArmor's globbing (apparmor.d(5)) as a regular expression."""
    parts = {"**": ".*", "*": "[^/]*", "?": "[^/]", "{": "(?:", "}": ")", ",": "|"}
    words = re.split(r"(\*\*|[*?{},])", glob)
    try:
        return re.compile("".join(parts.get(word, re.escape(word)) for word in words))
    except re.error:
        return re.compile(r"(?!)")  # nothing: braces that do not close

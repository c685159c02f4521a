"""What the daemon needs of the directories, users and limits that its configuration names.

Looked at by the daemon itself, or by a process of its user: what another may do says nothing.
"""

import contextlib
import grp
import os
import pwd
import re
import resource
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from vtpmd.config.files import fault, read_files
from vtpmd.config.schema import SOCKET_PATH_LIMIT, Configuration, group_id, user_id
from vtpmd.linux import acl
from vtpmd.spawn.process import try_sandbox
from vtpmd.storage.errors import StorageError
from vtpmd.storage.files import open_directory

from .finding import Check, Found, bad, ok, unknown, warning

LITTLE_SPACE: Final = 256 << 20
NO_SPACE: Final = 4 << 20
"""Octets below which there is little room for TPMs, and below which none is made."""
_SHORTEST_NAME: Final = 8
_LONGEST_NAME: Final = 64
_DESCRIPTORS: Final = 4096
_SWAPS: Final = Path("/proc/swaps")
_LOCKED: Final = 4 << 20
"""Octets that are enough to lock the keys of a thousand TPMs, a page each."""
_SUFFIX: Final = ".sock.ctrl"


def _sandbox(configuration: Configuration) -> Found:
    if configuration.sandbox == "off":
        return warning(
            "workers run without a sandbox, as configured (sandbox: off)", "set sandbox: require"
        )
    active, refused = try_sandbox(configuration.sandbox)
    if refused:
        return bad(refused, "`vtpmctl doctor` says of kernel, Landlock and libseccomp which it is")
    missing = [f"{part} {how}" for part, how in active.items() if how.startswith("unavailable")]
    if missing and configuration.sandbox == "best-effort":
        return warning(f"workers run without: {'; '.join(missing)}", "set sandbox: require")
    parts = ", ".join(f"{part} {how}" for part, how in active.items() if part != "mode")
    return ok(f"closes as configured (sandbox: {configuration.sandbox}): {parts}")


def _directory(path: Path, setting: str) -> Found:
    """A directory of the daemon's own, or one that it may make."""
    try:
        os.close(open_directory(path))
    except StorageError as error:
        if error.kind != "missing":
            return bad(f"{setting}: {error}", f"put {path} right, or set another {setting}")
        parent = next(above for above in path.parents if above.exists())
        if os.access(parent, os.W_OK | os.X_OK):
            return ok(f"{path} is not there yet, and will be made")
        return bad(
            f"{setting}: {path} is not there, and {me()} may not make it in {parent}",
            f"install -d -m 0700 -o {me()} {path}",
        )
    if not os.access(path, os.W_OK | os.X_OK):
        return bad(f"{setting}: {me()} may not write to {path}", f"chown {me()} {path}")
    return ok(f"{path} is {me()}'s to write to")


def _state_directory(configuration: Configuration) -> Found:
    path = configuration.state_dir
    found = _directory(path, "state_dir")
    if found.verdict == "ok" and path.exists() and path.stat().st_mode & 0o077:
        mode = stat.S_IMODE(path.stat().st_mode)
        return warning(
            f"{path} has mode {mode:04o}: others see what is in it", f"chmod 0700 {path}"
        )
    return found


def _runtime_directory(configuration: Configuration) -> Found:
    path = configuration.runtime_dir
    found = _directory(path, "runtime_dir")
    if found.verdict != "ok" or not path.exists():
        return found
    mode = stat.S_IMODE(path.stat().st_mode)
    if not mode & 0o001:
        return warning(
            f"{path} has mode {mode:04o}: no QEMU of another user reaches the sockets in it",
            f"chmod 0755 {path}",
        )
    return ok(f"{path} is {me()}'s, and others reach the sockets in it (mode {mode:04o})")


def _umask(_: Configuration) -> Found:
    status = Path("/proc/self/status").read_text()  # umask(2) would change it for a moment
    found = re.search(r"^Umask:\t([0-7]+)$", status, re.MULTILINE)
    if found is None:
        return unknown("the kernel does not tell it")
    umask = int(found[1], 8)
    if umask & 0o022 != 0o022:
        return warning(
            f"umask {umask:04o}: other users could write to files that are made here",
            "set UMask=0077 in the unit, or umask 077 in the shell that starts vtpmd",
        )
    return ok(f"umask {umask:04o}")


def _space(configuration: Configuration) -> Found:
    path = _present(configuration.state_dir)
    room = shutil.disk_usage(path).free
    nodes = os.statvfs(path)
    where = f"the file system of {configuration.state_dir}"
    remedy = "make room, or move state_dir to a larger file system"
    if nodes.f_files and not nodes.f_favail:
        return bad(f"{where} has no inode left", remedy)
    text = f"{where} has {room >> 20} MiB left"
    if room < NO_SPACE:
        return bad(f"{text}: no TPM can be made, and running ones store nothing", remedy)
    return warning(text, remedy) if room < LITTLE_SPACE else ok(text)


def _socket_paths(configuration: Configuration) -> Found:
    path = configuration.runtime_dir
    room = SOCKET_PATH_LIMIT - len(bytes(path / _SUFFIX))
    remedy = "set a shorter runtime_dir"
    if room < _SHORTEST_NAME:
        return bad(f"runtime_dir: {path} leaves {max(room, 0)} characters for names", remedy)
    if room < _LONGEST_NAME:
        text = f"{path} is so long that names of instances have {room} characters at most"
        return warning(text, remedy)
    return ok(f"names of instances may have all {_LONGEST_NAME} characters")


def _socket_owner(configuration: Configuration) -> Found:
    settings = configuration.sockets
    user = None if settings.owner is None else user_id(settings.owner)
    group = None if settings.group is None else group_id(settings.group)
    words = [f"user {settings.owner}"] * (user is not None)
    words += [f"group {settings.group}"] * (group is not None)
    who = " and ".join(words)
    if not who:
        return ok("root and the daemon alone, unless an instance has an owner (--owner)")
    if os.geteuid() == 0:
        return ok(f"{who}, as the daemon is root")
    if user in (None, os.geteuid()) and (group is None or group in {os.getegid(), *os.getgroups()}):
        return ok(f"{who}, as {me()} is a member")
    if _lists(configuration.runtime_dir):
        return ok(f"{who}, by access control lists")
    name = settings.group or settings.owner
    return bad(
        f"sockets: {me()} may not give sockets to {who}, and the file system of "
        f"{configuration.runtime_dir} has no access control lists",
        f"usermod -aG {name} {me()} and restart the daemon, or choose another runtime_dir"
        if group is not None
        else "choose a group that the daemon is a member of, or another runtime_dir",
    )


def _lists(directory: Path) -> bool:
    """Whether files in there can have access control lists."""
    trial = _present(directory) / f".{secrets.token_hex(4)}"
    try:
        os.close(os.open(trial, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        acl.share(trial, 0o660, os.geteuid(), None)
    except OSError:
        return False
    finally:
        with contextlib.suppress(OSError):
            trial.unlink()
    return True


def _admin_group(configuration: Configuration) -> Found:
    group = configuration.admin.group
    if group is None:
        return ok("root and the daemon's user may use vtpmctl")
    members = grp.getgrgid(group_id(group)).gr_mem
    if not members:
        return warning(
            f"admin.group: nobody is named as a member of {group}",
            f"usermod -aG {group} USER; who joins has to log in anew",
        )
    return ok(
        f"root, the daemon's user and members of {group} may use vtpmctl: {', '.join(members)}"
    )


def _anchors(configuration: Configuration) -> Iterator[Found]:
    state, anchors = configuration.state_dir, configuration.anchor_dir
    if configuration.rollback == "off":
        yield warning(
            "rollback: off: nobody notices when an older state of a TPM is put back",
            "set rollback: warn or enforce",
        )
    if anchors is None:
        yield ok("in state_dir: what is put back of a part of it is noticed, not of the whole")
        return
    found = _directory(anchors, "anchor_dir")
    if found.verdict == "ok" and _present(anchors).stat().st_dev == _present(state).stat().st_dev:
        found = warning(
            f"anchor_dir: {anchors} is on the file system of state_dir, and turned back with it",
            "set anchor_dir on another disk",
        )
    yield found


def _audit(configuration: Configuration) -> Found:
    file = configuration.audit.file
    if file is None:
        return ok("in the log")
    where = file if file.exists() else file.parent
    if not os.access(where, os.W_OK):
        return bad(f"audit.file: {me()} may not write to {where}", f"chown {me()} {where}")
    return ok(f"in {file}")


def _files(configuration: Configuration) -> Iterator[Found]:
    named = list(read_files(configuration))
    for place, path in named:
        if (reason := fault(path)) is not None:
            setting = ".".join(map(str, place))
            yield bad(f"{setting}: {reason}", f"put it there, readable for {me()}, or correct it")
    yield ok(f"{len(named)} are named that have to be there")


def _limits(_: Configuration) -> Found:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < _DESCRIPTORS:
        return warning(
            f"{hard} open files are permitted, and each instance needs several",
            "set LimitNOFILE=65536 in the unit, or ulimit -n",
        )
    return ok("as many open files as are needed are permitted")


def _memory(_: Configuration) -> Found:
    """Keys of TPMs that sleep are locked into memory, where that is permitted and there is swap."""
    swaps = _SWAPS.read_text().splitlines()[1:]
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    if limit == resource.RLIM_INFINITY or limit >= _LOCKED or os.geteuid() == 0:
        return ok("keys of TPMs that sleep are locked into memory")
    if not swaps:
        return ok("there is no swap space that keys could be written to")
    return warning(
        f"{limit >> 10} KiB may be locked into memory: keys of TPMs that sleep may be swapped out",
        "set LimitMEMLOCK=8M in the unit, or encrypt the swap space, or go without",
    )


def _present(path: Path) -> Path:
    """The directory itself or the nearest one above it that is there."""
    return next(each for each in (path, *path.parents) if each.exists())


def me() -> str:
    """The name of the user that looks."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


SPACE: Final = Check("disk space", _space)
CHECKS: Final = (
    Check("sandbox", _sandbox, refuses=True),
    Check("state directory", _state_directory),
    Check("runtime directory", _runtime_directory),
    Check("umask", _umask),
    SPACE,
    Check("socket paths", _socket_paths, refuses=True),
    Check("who may attach", _socket_owner, refuses=True),
    Check("who may administrate", _admin_group),
    Check("rollback", _anchors),
    Check("audit log", _audit),
    Check("files", _files),
    Check("open files", _limits),
    Check("locked memory", _memory),
)

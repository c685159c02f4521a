"""What swtpm's options ask for, as tables, and the types they end up in."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .syntax import FLAG, Converter, UsageError, number, octal, one_of, path, split
from .syntax import text as any_text

Startup = Literal["clear", "state", "none"]
LogLevel = Literal["error", "info", "debug"]

_MAX_ID = (1 << 32) - 2
_DEFAULT_HOST = "127.0.0.1"
_SOCKET_MODE = 0o660
_DEBUG_FROM = 5  # the level from which swtpm logs what libtpms does


@dataclass(frozen=True)
class Tcp:
    host: str
    port: int


@dataclass(frozen=True)
class Unix:
    """`uid` and `gid` are None where they stay as they are."""

    path: Path
    mode: int
    uid: int | None
    gid: int | None


@dataclass(frozen=True)
class Inherited:
    """A descriptor we were started with: a client's connection, or a socket that listens."""

    fd: int
    connected: bool


Address = Tcp | Unix | Inherited


@dataclass(frozen=True)
class Endpoint:
    """`disconnect`: a connection ends with its first response. `terminate`: we end with it."""

    address: Address
    disconnect: bool = False
    terminate: bool = False


@dataclass(frozen=True)
class State:
    """`mode` is what swtpm would give its files, None if it was not asked for."""

    directory: Path
    mode: int | None = None


@dataclass(frozen=True)
class Flags:
    """`startup`: power the TPM on at once, and how; None leaves that to the control channel."""

    startup: Startup | None = None
    auto_shutdown: bool = True


@dataclass(frozen=True)
class Localities:
    """`vendor_command`: TPM2_CC_SET_LOCALITY on the data channel is permitted."""

    vendor_command: bool = False
    reject_4: bool = False


@dataclass(frozen=True)
class Log:
    """`target` is a path, a descriptor, or None for nowhere."""

    target: Path | int | None
    level: LogLevel = "info"
    prefix: str = ""
    truncate: bool = False


PidTarget = Path | int

_FD = number(0, (1 << 31) - 1)
_ADDRESS: Mapping[str, Converter | None] = {
    "type": one_of("tcp", "unixio"),
    "port": number(1, 65535),
    "bindaddr": any_text,
    "ifname": any_text,
    "path": path,
    "mode": octal,
    "uid": number(0, _MAX_ID),
    "gid": number(0, _MAX_ID),
    "fd": _FD,
}
_KINDS: Mapping[str, tuple[set[str], set[str]]] = {
    # needed, and permitted besides
    "tcp": ({"port"}, {"bindaddr", "ifname"}),
    "unixio": ({"path"}, {"mode", "uid", "gid"}),
    "fd": ({"fd"}, set()),
    "clientfd": ({"clientfd"}, set()),
}


def server(text: str) -> Endpoint:
    """`--server`: where TPM commands come in."""
    words = split("--server", text, {**_ADDRESS, "disconnect": FLAG})
    disconnect = bool(words.pop("disconnect", False))
    address = _address("--server", words, connected_fd=True)
    return Endpoint(address, disconnect, terminate=isinstance(address, Inherited))


def control(text: str) -> Endpoint:
    """`--ctrl`: the control channel."""
    words = split("--ctrl", text, {**_ADDRESS, "clientfd": _FD, "terminate": FLAG})
    terminate = bool(words.pop("terminate", False))
    address = _address("--ctrl", words, connected_fd=False)
    connected = isinstance(address, Inherited) and address.connected
    return Endpoint(address, terminate=terminate or connected)


def _address(option: str, words: dict[str, Any], *, connected_fd: bool) -> Address:
    kind = words.pop("type", None)
    for word in ("fd", "clientfd"):
        if word in words:
            kind = word
    kind = kind or ("unixio" if "path" in words else "tcp")
    needed, permitted = _KINDS[kind]
    if missing := needed - words.keys():
        raise UsageError(f"{option}: {kind} needs {', '.join(sorted(missing))}")
    if extra := words.keys() - needed - permitted:
        raise UsageError(f"{option}: {kind} does not go with {', '.join(sorted(extra))}")
    if kind == "tcp":
        scope = f"%{words['ifname']}" if "ifname" in words else ""
        return Tcp(words.get("bindaddr", _DEFAULT_HOST) + scope, words["port"])
    if kind == "unixio":
        mode, uid, gid = words.get("mode", _SOCKET_MODE), words.get("uid"), words.get("gid")
        return Unix(words["path"], mode, uid, gid)
    return Inherited(words[kind], connected_fd or kind == "clientfd")


def state(text: str) -> State:
    """`--tpmstate`: the directory, which must exist."""
    table = {"dir": path, "mode": octal, "backend-uri": any_text, "lock": FLAG}
    words: dict[str, Any] = split("--tpmstate", text, table)
    uri = words.get("backend-uri")
    if uri is not None:
        if not uri.startswith("dir://"):
            raise UsageError(f"--tpmstate: backend-uri={uri}: only dir://DIRECTORY is possible")
        words["dir"] = path(uri.removeprefix("dir://"))
    if "dir" not in words:
        raise UsageError("--tpmstate needs dir=DIRECTORY")
    return State(words["dir"], words.get("mode"))


_STARTUPS: Mapping[str, Startup] = {
    "startup-clear": "clear",
    "startup-state": "state",
    "startup-none": "none",
}


def flags(text: str) -> Flags:
    """`--flags`: power and start-up. All startup words but startup-none imply not-need-init."""
    known = ["not-need-init", *_STARTUPS, "startup-deactivated", "disable-auto-shutdown"]
    words = split("--flags", text, dict.fromkeys(known, FLAG))
    if "startup-deactivated" in words:
        raise UsageError("--flags: startup-deactivated is for TPM 1.2")
    startups = [word for word in _STARTUPS if word in words]
    if len(startups) > 1:
        raise UsageError(f"--flags: {' and '.join(startups)} exclude each other")
    startup: Startup = _STARTUPS[startups[0]] if startups else "none"
    powered = startup != "none" or "not-need-init" in words
    return Flags(startup if powered else None, auto_shutdown="disable-auto-shutdown" not in words)


def localities(text: str) -> Localities:
    """`--locality`: what may be done with localities."""
    words = split("--locality", text, {"reject-locality-4": FLAG, "allow-set-locality": FLAG})
    return Localities("allow-set-locality" in words, "reject-locality-4" in words)


def log(text: str) -> Log:
    """`--log`: where to, and how much."""
    table = {"file": any_text, "fd": _FD, "level": number(0, 100), "prefix": any_text}
    words: dict[str, Any] = split("--log", text, {**table, "truncate": FLAG})
    target = 2 if words.keys().isdisjoint(("file", "fd")) else _file_or_fd("--log", words)
    count = words.get("level", 1)
    level: LogLevel = "debug" if count >= _DEBUG_FROM else "info" if count else "error"
    nowhere = target == "-"
    where = None if nowhere else path(target) if isinstance(target, str) else target
    return Log(where, level, words.get("prefix", ""), "truncate" in words)


def pid(text: str) -> PidTarget:
    """`--pid`: where the process id is written."""
    target = _file_or_fd("--pid", split("--pid", text, {"file": any_text, "fd": _FD}))
    return path(target) if isinstance(target, str) else target


def sandboxed(text: str) -> bool:
    """`--seccomp`: False for `action=none`. What is not permitted fails, nobody is killed."""
    words = split("--seccomp", text, {"action": one_of("kill", "log", "none")})
    return words["action"] != "none"


def _file_or_fd(option: str, words: Mapping[str, Any]) -> str | int:
    if ("file" in words) is ("fd" in words):
        raise UsageError(f"{option} needs either file=PATH or fd=NUMBER")
    target: str | int = words["file"] if "file" in words else words["fd"]
    return target


@dataclass(frozen=True)
class CommandLine:
    """All of one command line."""

    state: State
    server: Endpoint | None = None
    control: Endpoint | None = None
    flags: Flags = Flags()
    localities: Localities = Localities()
    log: Log = Log(2)
    pid: PidTarget | None = None
    sandboxed: bool = True
    daemon: bool = False
    terminate: bool = False

    @property
    def sets_up(self) -> bool:
        """Whether both channels are connections that we inherit: so starts who sets a TPM up."""
        ends = (self.server, self.control)
        return all(isinstance(end.address, Inherited) if end else False for end in ends)

    def __post_init__(self) -> None:
        if self.server is None and self.control is None:
            raise UsageError("nobody could connect: --server or --ctrl is needed")
        if self.control is None and self.flags.startup is None:
            raise UsageError(
                "without --ctrl nobody can power the TPM on: add --flags not-need-init "
                "or one of its startup-… words"
            )

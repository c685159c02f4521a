"""QEMU's monitor: QMP over a socket of ours."""

import json
import select
import socket
import time
from typing import Any

from tests.guest.errors import GuestError

Message = dict[str, Any]


class Qmp:
    """A connection to QEMU's monitor. Everything raises GuestError when QEMU does not do it."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._buffer = b""
        self._events: list[Message] = []
        self._read()  # the greeting
        self.command("qmp_capabilities")

    def _read(self, timeout: float = 30.0) -> Message:
        deadline = time.monotonic() + timeout
        while b"\n" not in self._buffer:
            left = max(0.0, deadline - time.monotonic())
            if not select.select([self._socket], [], [], left)[0]:
                raise GuestError("QEMU's monitor does not answer")
            data = self._socket.recv(65536)
            if not data:
                raise GuestError("QEMU closed its monitor")
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        message: Message = json.loads(line)
        return message

    def command(self, name: str, timeout: float = 60.0, **arguments: object) -> Any:
        """The command's return value; events that come in between are kept."""
        message: Message = {"execute": name}
        if arguments:
            message["arguments"] = arguments
        self._socket.sendall(json.dumps(message).encode() + b"\n")
        while True:
            reply = self._read(timeout)
            if "return" in reply:
                return reply["return"]
            if "error" in reply:
                raise GuestError(f"QMP {name}: {reply['error']['desc']}")
            self._events.append(reply)

    def event(self, name: str, timeout: float) -> Message:
        """The first event of this name, waited for if it has not come yet."""
        while True:
            for position, event in enumerate(self._events):
                if event.get("event") == name:
                    return self._events.pop(position)
            self._events.append(self._read(timeout))

    def human(self, line: str, timeout: float = 120.0) -> str:
        """A command of the human monitor (savevm and loadvm have no simple QMP form)."""
        out: str = self.command("human-monitor-command", timeout, **{"command-line": line})
        if "rror" in out:
            raise GuestError(f"monitor: {line}: {out.strip()}")
        return out

    def migrate(self, uri: str, timeout: float = 120.0) -> Message:
        """Migrate to `uri` and wait for the end; query-migrate's last answer."""
        self.command("migrate", uri=uri)
        deadline = time.monotonic() + timeout
        while True:
            info: Message = self.command("query-migrate")
            if info.get("status") == "completed":
                return info
            if info.get("status") in ("failed", "cancelled"):
                reason = info.get("error-desc", "no reason given")
                raise GuestError(f"migration {info['status']}: {reason}")
            if time.monotonic() > deadline:
                raise GuestError(f"migration still {info.get('status')} after {timeout:.0f} s")
            time.sleep(0.05)

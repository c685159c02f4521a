"""A recording relay between QEMU's "-tpmdev emulator" and a TPM emulator.

    python -m tests.guest.trace --listen SOCK --tpm SOCK [--out FILE.jsonl]

QEMU connects to the first socket; everything is passed on, unchanged, to the second, including
the data channel whose descriptor QEMU sends with CMD_SET_DATAFD. Each control request and each
TPM command becomes one line of JSON:

    {"t": seconds, "chan": "ctrl", "cmd": "CMD_INIT", "req": hex, "rsp": hex, "ms": 1.2}
    {"t": seconds, "chan": "data", "cmd": "PCR_Extend", "code": "00000182",
     "req_len": 65, "rsp_len": 19, "rc": "00000000", "ms": 0.5}

"ms" is the time from the request's arrival to the response's. Requests and responses longer than
64 bytes are cut.
"""

import argparse
import contextlib
import json
import select
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any, TextIO

from tests.tpm_names import command_name, control_name

Row = dict[str, Any]


class Trace:
    """Where the records go: a list, and a file if one is given."""

    def __init__(self, path: Path | None = None) -> None:
        self.records: list[Row] = []
        self._lock = threading.Lock()
        self._start = time.monotonic()
        self._file = path.open("w") if path else None

    def add(self, began: float, **record: object) -> None:
        row = {"t": round(began - self._start, 6), **record}
        with self._lock:
            self.records.append(row)
            if self._file:
                self._file.write(json.dumps(row) + "\n")
                self._file.flush()

    def mark(self, text: str) -> None:
        """Put a phase marker between the records."""
        self.add(time.monotonic(), chan="mark", text=text)

    def close(self) -> None:
        if self._file:
            self._file.close()


def _cut(data: bytes) -> str:
    return data[:64].hex() + ("..." if len(data) > 64 else "")


class Relay:
    """Serve one listening socket; each QEMU connection gets its own TPM connection.

    A subclass may disturb the conversation by answering in the TPM's place.
    """

    def __init__(self, listen: Path, tpm: Path, trace: Trace, name: str = "") -> None:
        self.tpm, self.trace, self.name = tpm, trace, name
        self._socket = socket.socket(socket.AF_UNIX)
        listen.unlink(missing_ok=True)
        self._socket.bind(str(listen))
        self._socket.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def answer_command(self, command: bytes) -> bytes | None:
        """A response for QEMU in place of the TPM's, or None to pass the command on."""
        return None

    def answer_control(self, request: bytes) -> bytes | None:
        """Of the control request read so far: None to pass on what arrived, b"" to drop it, or an
        answer for QEMU."""
        return None

    def add(self, began: float, **record: object) -> None:
        named = {"tpm": self.name} if self.name else {}
        self.trace.add(began, **named, **record)

    def _serve(self) -> None:
        while True:
            qemu, _ = self._socket.accept()
            tpm = socket.socket(socket.AF_UNIX)
            try:
                tpm.connect(str(self.tpm))
            except OSError as error:
                self.add(time.monotonic(), chan="ctrl", cmd="connect", error=str(error))
                qemu.close()
                continue
            control = _ControlRelay(self, qemu, tpm)
            threading.Thread(target=control.run, daemon=True).start()

    def serve_data(self, qemu: socket.socket, tpm: socket.socket) -> None:
        """Pass commands and responses of one data channel until either side closes it."""
        with qemu, tpm, contextlib.suppress(OSError):
            while (command := _receive(qemu)) is not None:
                began = time.monotonic()
                response = self.answer_command(command)
                if response is None:
                    tpm.sendall(command)
                    response = _receive(tpm)
                if response is None:
                    break
                qemu.sendall(response)
                code = int.from_bytes(command[6:10], "big")
                self.add(
                    began,
                    chan="data",
                    cmd=command_name(code),
                    code=f"{code:08x}",
                    req_len=len(command),
                    rsp_len=len(response),
                    req=_cut(command),
                    rc=response[6:10].hex(),
                    ms=round((time.monotonic() - began) * 1e3, 3),
                )
        self.add(time.monotonic(), chan="data", cmd="(closed)")


def _receive(connection: socket.socket) -> bytes | None:
    """One command or response, framed by its size field; None at the end."""
    data = b""
    size = 6
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            return None
        data += more
        if len(data) == 6:
            size = int.from_bytes(data[2:6], "big")
    return data


class _ControlRelay:
    """One control connection of QEMU, and the TPM's that stands for it."""

    def __init__(self, relay: Relay, qemu: socket.socket, tpm: socket.socket) -> None:
        self.relay, self.qemu, self.tpm = relay, qemu, tpm
        self.request = self.response = b""
        self.began = self.answered = time.monotonic()

    def run(self) -> None:
        self.relay.add(self.began, chan="ctrl", cmd="(connect)")
        with self.qemu, self.tpm:
            while True:
                for ready in select.select([self.qemu, self.tpm], [], [])[0]:
                    from_qemu = ready is self.qemu
                    if not (self._from_qemu() if from_qemu else self._from_tpm()):
                        self._flush()
                        closed = "(qemu closed)" if from_qemu else "(tpm closed)"
                        self.relay.add(time.monotonic(), chan="ctrl", cmd=closed)
                        return

    def _flush(self) -> None:
        """Record the exchange that is over."""
        if self.request:
            self.relay.add(
                self.began,
                chan="ctrl",
                cmd=control_name(int.from_bytes(self.request[:4], "big")),
                req=_cut(self.request),
                req_len=len(self.request),
                rsp=_cut(self.response),
                rsp_len=len(self.response),
                ms=round((self.answered - self.began) * 1e3, 3),
            )
        self.request = self.response = b""

    def _from_qemu(self) -> bool:
        try:
            data, descriptors, _, _ = socket.recv_fds(self.qemu, 65536, 4)
        except OSError:
            return False
        if self.response:
            self._flush()
        if not data:
            return False
        if not self.request:
            self.began = time.monotonic()
        self.request += data
        if descriptors:
            data_tpm, theirs = socket.socketpair()
            with theirs:
                socket.send_fds(self.tpm, [data], [theirs.fileno()])
            channels = (socket.socket(fileno=descriptors[0]), data_tpm)
            threading.Thread(target=self.relay.serve_data, args=channels, daemon=True).start()
        elif (answer := self.relay.answer_control(self.request)) is None:
            with contextlib.suppress(OSError):
                self.tpm.sendall(data)
        elif answer:
            self._answer(answer)
            self._flush()
        return True

    def _from_tpm(self) -> bool:
        try:
            data = self.tpm.recv(65536)
        except OSError:
            return False
        if data:
            self._answer(data)
        return bool(data)

    def _answer(self, data: bytes) -> None:
        self.answered = time.monotonic()
        self.response += data
        with contextlib.suppress(OSError):
            self.qemu.sendall(data)


def histogram(records: list[Row]) -> dict[str, dict[tuple[str, str], list[float]]]:
    """Milliseconds by phase (between marks), channel and command."""
    phases: dict[str, dict[tuple[str, str], list[float]]] = {}
    phase = "start"
    for row in sorted(records, key=lambda row: row["t"]):
        if row["chan"] == "mark":
            phase = row["text"]
        elif "ms" in row:
            times = phases.setdefault(phase, {}).setdefault((row["chan"], row["cmd"]), [])
            times.append(row["ms"])
    return phases


def print_histogram(records: list[Row], out: TextIO = sys.stdout) -> None:
    for phase, rows in histogram(records).items():
        data = [times for (channel, _), times in rows.items() if channel == "data"]
        count, spent = sum(map(len, data)), sum(map(sum, data))
        print(f"{phase}: {count} TPM commands, {spent:.1f} ms", file=out)
        for (channel, name), times in sorted(rows.items(), key=lambda i: (i[0][0], -len(i[1]))):
            mean = sum(times) / len(times)
            row = f"  {channel} {name:28} {len(times):5}"
            print(f"{row}  mean {mean:8.2f} ms  max {max(times):8.2f} ms", file=out)


def main() -> None:
    parser = argparse.ArgumentParser(prog="trace", description="Record what QEMU and a TPM say.")
    parser.add_argument("--listen", type=Path, metavar="SOCK")
    parser.add_argument("--tpm", type=Path, metavar="SOCK")
    parser.add_argument("--out", type=Path, metavar="FILE")
    parser.add_argument("--histogram", type=Path, metavar="FILE", help="print a recorded file's")
    arguments = parser.parse_args()
    if arguments.histogram:
        lines = arguments.histogram.read_text().splitlines()
        print_histogram([json.loads(line) for line in lines])
        return
    if not (arguments.listen and arguments.tpm):
        parser.error("--listen and --tpm are needed")
    trace = Trace(arguments.out)
    Relay(arguments.listen, arguments.tpm, trace)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        print_histogram(trace.records)


if __name__ == "__main__":
    main()

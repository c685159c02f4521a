"""A quote with its log, verified by a program that has the verifier loaded, and by vtpmctl."""

import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.attest import made

EVENTS = 120
"""In the log, as many as a boot of Linux with GRUB has."""

LOOP = """
import json, sys, time
from pathlib import Path
from vtpmd.attest.trust import AttestationKey
from vtpmd.attest.verify import Demands, Evidence, verify_quote
directory, name, nonce, count = sys.argv[1:]
ak, *files = ((Path(directory) / file).read_bytes() for file in ("ak", "message", "signature"))
log = (Path(directory) / "log").read_bytes()
key = AttestationKey.read(ak).named(bytes.fromhex(name))
demands = Demands(bytes.fromhex(nonce))
seconds = []
for number in range(3 + int(count)):
    began = time.perf_counter()
    verdict = verify_quote(Evidence(*files, log=log), key, demands)
    seconds.append(time.perf_counter() - began)
    assert verdict.status == 0, verdict.checks
print(json.dumps(seconds[3:]))
"""


def evidence(directory: Path) -> made.Machine:
    """The files of a genuine quote by a key of P-256."""
    events = made.boot()
    files = [made.Event(9, made.IPL, b"grub_file\0", bytes([number])) for number in range(EVENTS)]
    machine = made.Machine([*events, *files[len(events) :]], kind="p256")
    message, signature = machine.quote()
    contents = {
        "ak": made.sized(machine.public),
        "message": message,
        "signature": signature,
        "log": machine.log,
    }
    for name, content in contents.items():
        (directory / name).write_bytes(content)
    return machine


def inside(commands: Path, count: int) -> list[float]:
    """Seconds that each verification takes in a program that has done it before."""

    def run(directory: Path, name: str) -> list[float]:
        words = [str(directory), name, made.NONCE.hex(), str(count)]
        done = subprocess.run(
            [commands / "python", "-c", LOOP, *words], capture_output=True, check=True, cwd="/"
        )
        seconds: list[float] = json.loads(done.stdout)
        return seconds

    return _with_evidence(run)


def by_command(commands: Path, count: int) -> list[float]:
    """Seconds from the start of `vtpmctl verify quote` to its end."""

    def run(directory: Path, name: str) -> list[float]:
        words = ["--ak-name", name, "--nonce", made.NONCE.hex()]
        for option in ("ak", "message", "signature", "log"):
            words += [f"--{option}", str(directory / option)]
        seconds = []
        for _ in range(count):
            began = time.perf_counter()
            subprocess.run(
                [commands / "vtpmctl", "verify", "quote", *words], capture_output=True, check=True
            )
            seconds.append(time.perf_counter() - began)
        return seconds

    return _with_evidence(run)


def _with_evidence(run: Callable[[Path, str], list[float]]) -> list[float]:
    with tempfile.TemporaryDirectory() as directory:
        machine = evidence(Path(directory))
        return run(Path(directory), made.name(machine.public).hex())

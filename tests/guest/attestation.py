"""The verifier's part of scenario `attest`: `vtpmctl verify` with what a real guest hands over."""

import base64
import dataclasses
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.guest.console import Boot
from tests.guest.errors import GuestError, NotPossibleError
from tests.guest.qemu import Machine
from tests.peers.vtpmd import COMMANDS

if TYPE_CHECKING:
    from tests.guest.run import Run

GENUINE, NONCE, POLICY = 0, 21, 24
BY_IMA = 10
"""The PCR that the guest's kernel extends by a list of its own."""
KERNELS_OWN = b"No setup signature found"
"""What a Linux kernel says to BIOS alone: another text makes another kernel that boots as well."""
OF_A_KERNEL = {"pcrs.4", "boot_apps"}
"""The rules that another kernel breaks, and no others."""


class Verifier:
    """Who judges, in a directory of its own: there is nothing of the host's but the roots."""

    def __init__(self, run: "Run", authorities: bytes) -> None:
        self._run = run
        self._directory = run.directory / "verifier"
        self._directory.mkdir()
        self._write("roots.pem", authorities)

    def challenge(self, boot: Boot) -> bytes:
        """The credential for the AK that a guest has shown."""
        self._keep(boot, "ek.crt", "ak.pub")
        self._done("challenge --ek-cert ek.crt --ca roots.pem --ak ak.pub -o machine")
        return (self._directory / "machine/credential.blob").read_bytes()

    def response(self, boot: Boot) -> None:
        """The answer has to be right."""
        self._keep(boot, "answer")
        self._done("response machine answer")

    def take(self, boot: Boot) -> None:
        """A quote and the log that belongs to it."""
        self._keep(boot, "message", "signature", "pcrs", "eventlog")

    def expect(self, status: int, nonce: str, more: str = "") -> dict[str, Any]:
        """The verdict on the quote, which has to end with this status."""
        done = self._verify(f"quote {self._quote(nonce)} {more} --json")
        if not done.stdout:
            raise GuestError(f"verify quote {more}: {done.stderr}")
        verdict: dict[str, Any] = json.loads(done.stdout)
        if done.returncode != status:
            problem = f"verify quote {more}: {done.returncode}, not {status}: {verdict['reason']}"
            self._run.results.problems.append(problem)
        return verdict

    def learn(self, nonce: str) -> None:
        """A policy.yaml from the quote."""
        self._done(f"learn {self._quote(nonce)} -o policy.yaml")

    def _quote(self, nonce: str) -> str:
        return (
            "--ak machine/ak.json --message message --signature signature --pcrs pcrs "
            f"--log eventlog --unlogged {BY_IMA} --nonce {nonce}"
        )

    def _keep(self, boot: Boot, *names: str) -> None:
        for name in names:
            if name not in boot.blobs:
                raise GuestError(f"the guest has not sent {name}")
            self._write(name, boot.blobs[name].data)

    def _write(self, name: str, content: bytes) -> None:
        (self._directory / name).write_bytes(content)

    def _done(self, arguments: str) -> None:
        done = self._verify(arguments)
        if done.returncode:
            raise GuestError(f"verify {arguments}: {done.stdout}{done.stderr}")

    def _verify(self, arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [COMMANDS / "vtpmctl", "verify", *arguments.split()],
            cwd=self._directory,
            capture_output=True,
            text=True,
            timeout=60,
        )


def attest(run: "Run", machine: Machine) -> Machine:
    """A machine is enrolled and judged, and judged again after a boot of another kernel."""
    if run.endorsement is None:
        raise NotPossibleError("nobody says who certifies this TPM")
    verifier = Verifier(run, run.endorsement.authorities)
    machine.follow("wait")
    machine.say(base64.b64encode(verifier.challenge(run.results.boot)).decode())
    machine.follow("wait")
    verifier.response(run.results.boot)
    nonce = _answered(run, machine, verifier)
    verifier.expect(GENUINE, nonce)
    verifier.expect(NONCE, os.urandom(20).hex())
    verifier.learn(nonce)
    verifier.expect(GENUINE, nonce, "--policy policy.yaml")

    _replace_kernel(run)
    machine = run.start_machine(1)
    machine.follow("wait")
    earlier, nonce = nonce, _answered(run, machine, verifier)
    verifier.expect(GENUINE, nonce)
    verifier.expect(NONCE, earlier)
    verdict = verifier.expect(POLICY, nonce, "--policy policy.yaml")
    broken = {rule["rule"] for rule in verdict["rules"] if not rule["kept"]}
    if broken != OF_A_KERNEL:
        run.results.problems.append(f"another kernel has broken {sorted(broken)}")
    return machine


def _answered(run: "Run", machine: Machine, verifier: Verifier) -> str:
    """Draw a nonce for a guest that waits for one, and let it answer and end."""
    nonce = os.urandom(20).hex()
    machine.say(nonce)
    machine.follow("done")
    machine.gone()
    verifier.take(run.results.boot)
    return nonce


def _replace_kernel(run: "Run") -> None:
    """The machine boots another kernel from now on, wherever it boots from."""
    kernel = run.options.kernel.read_bytes()
    if kernel.count(KERNELS_OWN) != 1:
        raise NotPossibleError("a kernel without the text that makes another one of it")
    other = Path(run.directory / "vmlinuz-other")
    other.write_bytes(kernel.replace(KERNELS_OWN, KERNELS_OWN.upper()))
    run.options = dataclasses.replace(run.options, other_kernel=other)
    shutil.rmtree(run.directory / "esp", ignore_errors=True)

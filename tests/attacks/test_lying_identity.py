"""A worker that was taken over lies about whose TPM it is: nothing is signed for that."""

import base64
import json
import platform
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.taken import TakenOver, daemon_with_hole, taken_over
from tests.peers.vtpmd import Vtpmd, VtpmdInstance

pytestmark = [
    pytest.mark.served,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="system calls of x86_64"),
]

LIE = """
import dataclasses
Channel = sys.modules['vtpmd.ipc.channel'].Channel
honest = Channel.send
def send(self, message, fds=()):
    kind = type(message).__name__
    if kind == 'Installed':
        message = dataclasses.replace(message, **installed)
    if kind == 'Certified' and refusal:
        message = sys.modules['vtpmd.ipc.identity'].NotCertified('certificates', refusal)
    return honest(self, message, fds)
Channel.send = send
"""
UNCONFIRMED, REFUSED = 11, 12


@pytest.fixture(scope="module")
def daemon() -> Iterator[Vtpmd]:
    directory = Path(tempfile.mkdtemp(prefix="vtpm."))
    daemon = daemon_with_hole(directory, "idle_timeout: 0\n")
    try:
        daemon.create("victim")
        yield daemon
    finally:
        daemon.close()
        shutil.rmtree(directory)


@pytest.fixture
def liar(daemon: Vtpmd) -> Iterator[VtpmdInstance]:
    instance = daemon.create("liar")
    yield instance
    daemon.control("stop", "liar", "--force")
    daemon.control("delete", "liar", "--yes")


def ledger(daemon: Vtpmd) -> list[dict[str, object]]:
    lines = (daemon.state / "ca" / "ledger").read_text().splitlines()
    return [json.loads(line) for line in lines]


def victim_s_seed(daemon: Vtpmd) -> bytes:
    """The name of its seed, which is no secret to a liar."""
    text = next(str(line["seed"]) for line in ledger(daemon) if "seed" in line)
    return base64.b64decode(text)


def lie(worker: TakenOver, installed: dict[str, object], refusal: str = "") -> None:
    assert worker.run(f"installed = {installed!r}; refusal = {refusal!r}\n" + LIE) == ""


@pytest.mark.parametrize("seed", ["the victim's", "nobody's"])
def test_another_seed_than_was_noted(daemon: Vtpmd, liar: VtpmdInstance, seed: str) -> None:
    """Neither by itself nor with an administrator's word: that is asked of a fresh worker."""
    told = victim_s_seed(daemon) if seed == "the victim's" else bytes(32)
    before, victim = ledger(daemon), daemon.control("ek", "show", "victim")
    with taken_over(liar) as worker:
        lie(worker, {"seed": told})
        assert daemon.control("info", "liar")["certificates"].startswith("stale: the endorsement")
        for trust, status in ((), UNCONFIRMED), (("--trust-now",), REFUSED):
            done = daemon.ctl("ek", "renew", "liar", *trust)
            assert done.returncode == status, done.stderr
    assert ledger(daemon) == before
    assert daemon.control("ek", "show", "victim") == victim


def test_certificates_that_it_says_it_has(daemon: Vtpmd, liar: VtpmdInstance) -> None:
    """What it has is not shown as what it should have, and the next renewal puts it right."""
    with taken_over(liar) as worker:
        lie(worker, {"certificates": {"rsa-2048": bytes(32)}})
        assert daemon.control("info", "liar")["certificates"].startswith("stale: the TPM holds")
        assert daemon.ctl("ek", "renew", "liar").returncode == 0
    daemon.control("stop", "liar", "--force")
    daemon.control("start", "liar")
    assert daemon.control("info", "liar")["certificates"] == "valid"


def test_a_refusal_is_shown_and_its_text_forges_nothing(daemon: Vtpmd, liar: VtpmdInstance) -> None:
    own = daemon.control("ek", "show", "liar")
    with taken_over(liar) as worker:
        lie(worker, {}, "\x1b]0;owned\x07\r\n{}\u202e")
        done = daemon.ctl("ek", "renew", "liar")
        assert done.returncode == REFUSED, done.stderr
        assert not set("\x1b\x07\r\u202e") & set(done.stderr + daemon.log())
    noted = [line for line in ledger(daemon) if line["type"] == "refused"]
    assert len(noted) == len(own["keys"])

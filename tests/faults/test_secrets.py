"""After a run with known secrets: where they must not be, they are not."""

import base64
import contextlib
import os
import re
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench.encoding import CREATE, PASSWORD, command, sealed_data, sized
from tests.faults.machine import INDEX, INDEX_SIZE, Machine, password
from tests.faults.sealing import dek_of
from tests.faults.test_killed_processes import children
from tests.faults.tracing import needs_root
from tests.peers.vtpmd import Vtpmd, VtpmdInstance
from vtpmd.kms.local.keyring import parse as parse_keyring

NV_READ = 0x14E
RC_BAD_AUTH = 0x9A2  # of the first session
Secrets = dict[str, bytes]


def spellings(secret: bytes) -> list[bytes]:
    """What a secret looks like raw, in hexadecimal, in Base64 and in Python."""
    encoded = base64.b64encode(secret).rstrip(b"=")[:-1]
    return [
        secret,
        secret.hex().encode(),
        secret.hex().upper().encode(),
        encoded,
        repr(secret)[2:-1].encode(),
    ]


def found(content: bytes, secrets: Secrets) -> list[str]:
    return [
        name
        for name, secret in secrets.items()
        if any(spelling in content for spelling in spellings(secret))
    ]


def memory(pid: int) -> Iterator[bytes]:
    """What is in a process's own memory, region by region; a non-dumpable one asks for root."""
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as file:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            bounds, permissions, *_ = line.split()
            if not permissions.startswith("rw"):
                continue
            start, end = (int(bound, 16) for bound in bounds.split("-"))
            with contextlib.suppress(OSError, OverflowError, ValueError):
                file.seek(start)
                yield file.read(end - start)


@pytest.fixture(scope="module")
def run(host: Vtpmd) -> tuple[VtpmdInstance, VtpmdInstance, Secrets]:
    """An instance whose machine has used secrets, another one beside it, and the secrets."""
    secrets = {name: os.urandom(24).hex().encode() for name in ("auth", "data", "sealed auth")}
    secrets["nv"] = os.urandom(INDEX_SIZE)
    user, neighbour = host.create("user"), host.create("neighbour")
    with Machine(neighbour) as machine:
        machine.define_indices()
    with Machine(user) as machine:
        machine.define_indices(auth=secrets["auth"][:32])
        machine.write(secrets["nv"])
        read = command(
            NV_READ, (INDEX, INDEX), bytes.fromhex("00400000"), password(secrets["auth"][:32])
        )
        machine.succeed(read)
        wrong = read.replace(secrets["auth"][:32], b"w" * 32)
        assert machine.code(wrong) == RC_BAD_AUTH
        sensitive = sized(sized(secrets["sealed auth"][:32]) + sized(secrets["data"]))
        area = sensitive + sized(sealed_data()) + sized(b"") + bytes(4)
        machine.succeed(command(CREATE, (machine.storage_key(),), area, PASSWORD))
        for garbage in (sensitive, sensitive + area):
            machine.code(command(CREATE, (), garbage))
    secrets["auth"], secrets["sealed auth"] = secrets["auth"][:32], secrets["sealed auth"][:32]
    return user, neighbour, {**secrets, "DEK": dek_of(user)}


Run = tuple[VtpmdInstance, VtpmdInstance, Secrets]


def test_log_and_files(host: Vtpmd, run: Run) -> None:
    user, _, secrets = run
    keys = {"KEK": parse_keyring((host.state / "keyring").read_bytes()).active.key}
    assert found(host.log_file.read_bytes(), secrets | keys) == []
    files = [path for path in user.directory.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"nvram", "meta.json"}
    for path in files:
        assert found(path.read_bytes(), secrets | keys) == []
    for info in (user.info(), host.request("GET", "/instances")[1]):
        assert found(repr(info).encode(), secrets | keys) == []


def test_command_lines_and_environments(host: Vtpmd, run: Run) -> None:
    user, neighbour, secrets = run
    (zygote,) = children(host.process())
    for pid in (host.process(), zygote, user.process(), neighbour.process()):
        for name in ("cmdline", "comm", "status", *(["environ"] if os.geteuid() == 0 else [])):
            content = Path(f"/proc/{pid}/{name}").read_bytes()
            assert found(content, secrets) == []


@needs_root
def test_memory_of_others(host: Vtpmd, run: Run) -> None:
    """The worker itself has them, which proves the search; nobody else does."""
    user, neighbour, secrets = run
    kept = {name for region in memory(user.process()) for name in found(region, secrets)}
    assert {"nv", "DEK"} <= kept
    (zygote,) = children(host.process())
    for pid in (neighbour.process(), zygote):
        for region in memory(pid):
            assert found(region, secrets) == []
    guests = {name: secret for name, secret in secrets.items() if name != "DEK"}
    for region in memory(host.process()):
        assert found(region, guests) == []


def test_no_core_file_of_any_process(daemon: Vtpmd) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))  # as generous as may be
    try:
        daemon.end()
        daemon.start()
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))
    instance = daemon.create("web1")
    (zygote,) = children(daemon.process())
    for pid in (instance.process(), zygote, daemon.process()):
        limits = Path(f"/proc/{pid}/limits").read_text()
        assert re.search(r"^Max core file size +0 +0 ", limits, re.MULTILINE), limits
    directories = [Path("/"), daemon.directory, daemon.state, instance.directory]
    before = [set(path.glob("core*")) for path in directories]
    instance.kill(signal.SIGSEGV)
    assert [set(path.glob("core*")) for path in directories] == before
    assert "ended unexpectedly" in instance.info()["reason"]

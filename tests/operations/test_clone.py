"""Clone: the same secrets, or others, as a guest can tell; and what is said about it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench.encoding import (
    CREATE,
    LOAD,
    PASSWORD,
    UNSEAL,
    command,
    creation,
    first_sized,
    sealed_data,
    sized,
)
from tests.faults.machine import INDEX_SIZE, Machine, UnexpectedError
from tests.peers.vtpmd import Vtpmd
from tests.state_files import PLACES, envelope_of, overwrite
from tests.supervisor.harness import Daemon
from tests.supervisor.stage import Stage
from vtpmd.api.schema import CloneRequest, CreateRequest
from vtpmd.operations.clone import clone
from vtpmd.operations.create import create

OWNER, SRK = 0x40000001, 0x81000001
EVICT_CONTROL, READ_PUBLIC, RSA_EK = 0x120, 0x173, 0x81010001
RC_INTEGRITY_1, RC_HANDLE_2 = 0x1DF, 0x28B
SECRET, CONTENT = b"the key of a disk", b"\x77" * INDEX_SIZE


def seal(machine: Machine) -> tuple[bytes, bytes]:
    """SECRET sealed under the storage key: TPM2B_PRIVATE and TPM2B_PUBLIC without sizes."""
    parent = machine.storage_key()
    message = command(CREATE, (parent,), creation(sealed_data(), SECRET), PASSWORD)
    private, public = first_sized(machine.succeed(message)[1], 2)
    return private, public


def unseal(machine: Machine, blob: tuple[bytes, bytes]) -> bytes:
    parent = machine.storage_key()
    message = command(LOAD, (parent,), sized(blob[0]) + sized(blob[1]), PASSWORD)
    handle, _ = machine.succeed(message, with_handle=True)
    return first_sized(machine.succeed(command(UNSEAL, (handle,), b"", PASSWORD))[1])[0]


def endorsement_key(machine: Machine) -> bytes:
    return first_sized(machine.succeed(command(READ_PUBLIC, (RSA_EK,)))[1])[0]


@pytest.fixture
def host(short_path: Path) -> Iterator[Vtpmd]:
    daemon = Vtpmd(short_path)
    yield daemon
    daemon.close()


@pytest.fixture
def sealed(host: Vtpmd) -> tuple[bytes, bytes]:
    """An instance `original` in use: with a persistent key, an NV index and a sealed secret."""
    with Machine(host.create("original")) as machine:
        blob = seal(machine)
        key = machine.storage_key()
        machine.succeed(command(EVICT_CONTROL, (OWNER, key), SRK.to_bytes(4), PASSWORD))
        machine.define_indices()
        machine.write(CONTENT)
    return blob


def test_a_copy_opens_what_the_original_opens(host: Vtpmd, sealed: tuple[bytes, bytes]) -> None:
    original = host.instance("original")
    before = original.nvram.read_bytes()
    info = host.control("clone", "original", "copy", "--policy", "copy")
    assert original.nvram.read_bytes() == before
    copy = host.instance("copy")
    assert info["state"] == "running"
    assert info["shares_identity_with"] == ["original"]
    assert host.control("info", "original")["shares_identity_with"] == ["copy"]
    assert "same secrets as original" in host.text("list")
    envelopes = envelope_of(original.nvram), envelope_of(copy.nvram)
    assert envelopes[0].header.dek_id != envelopes[1].header.dek_id
    assert str(envelopes[1].header.uuid) == info["uuid"] != original.directory.name
    with Machine(original) as first, Machine(copy) as second:
        assert unseal(second, sealed) == unseal(first, sealed) == SECRET
        assert endorsement_key(second) == endorsement_key(first)
        assert second.read() == CONTENT
        second.write(bytes(INDEX_SIZE))  # from here on they go their own ways
        assert first.read() == CONTENT
    original.stop()
    deletion = host.control("delete", "original", "--yes")
    assert deletion["secrets_remain_in"] == ["copy"]
    assert host.control("info", "copy")["shares_identity_with"] == []
    copy.restart()


def test_a_replacement_opens_nothing_of_the_original(
    host: Vtpmd, sealed: tuple[bytes, bytes]
) -> None:
    original = host.instance("original")
    before = original.nvram.read_bytes()
    status, problem = host.request(
        "POST", "/instances/original/clone", {"name": "new", "policy": "replace"}
    )
    assert (status, problem["code"]) == (409, "unconfirmed")
    assert "1 persistent key and 3 NV indices" in problem["detail"]
    info = host.control("clone", "original", "new", "--policy", "replace", "--yes")
    assert original.nvram.read_bytes() == before
    assert info["shares_identity_with"] == []
    assert info["pcr_banks"] == host.control("info", "original")["pcr_banks"]
    with Machine(original) as first, Machine(host.instance("new")) as second:
        with pytest.raises(UnexpectedError) as refused:
            unseal(second, sealed)
        assert refused.value.code == RC_INTEGRITY_1
        with pytest.raises(UnexpectedError) as refused:
            second.read()
        assert refused.value.code == RC_HANDLE_2
        assert endorsement_key(second) != endorsement_key(first)
        assert unseal(first, sealed) == SECRET


@pytest.mark.parametrize(
    ("has", "told"),
    [("key", "1 persistent key and 0 NV indices"), ("indices", "0 persistent keys and 3 NV")],
)
def test_whatever_the_owner_has_in_it_needs_a_confirmation(
    host: Vtpmd, has: str, told: str
) -> None:
    with Machine(host.create("original")) as machine:
        if has == "key":
            key = machine.storage_key()
            machine.succeed(command(EVICT_CONTROL, (OWNER, key), SRK.to_bytes(4), PASSWORD))
        else:
            machine.define_indices()
    wanted = {"name": "new", "policy": "replace", "start": False}
    status, problem = host.request("POST", "/instances/original/clone", wanted)
    assert (status, problem["code"]) == (409, "unconfirmed")
    assert told in problem["detail"]
    assert [each["name"] for each in host.control("list")["instances"]] == ["original"]


def test_nothing_to_warn_of_needs_no_confirmation(daemon: Daemon) -> None:
    daemon.control("create", "web1", "--no-start")
    info = daemon.control("clone", "web1", "web2", "--policy", "replace", "--no-start")
    assert (info["state"], info["shares_identity_with"]) == ("stopped", [])


async def test_who_looks_into_a_tpm_keeps_no_key(stage: Stage) -> None:
    """The stage demands that; whether there is anything to warn of takes the original's key."""
    made = await create(stage.fleet, CreateRequest(name="web1", start=False))
    request = CloneRequest(name="web2", policy="replace", start=False)
    assert (await clone(stage.fleet, "web1", request)).uuid != made.uuid
    assert stage.provider.unwrapped == 2  # the original's, and the authority's


def test_copies_of_copies_are_all_told(daemon: Daemon) -> None:
    """The default policy is copy."""
    daemon.control("create", "a", "--no-start", "--pcr-banks", "sha384")
    daemon.control("clone", "a", "b", "--no-start")
    info = daemon.control("clone", "b", "c")
    assert (info["shares_identity_with"], info["pcr_banks"]) == (["a", "b"], ["sha384"])
    assert info["data_socket"] is not None
    daemon.restart()
    listed = {
        each["name"]: each["shares_identity_with"] for each in daemon.control("list")["instances"]
    }
    assert listed == {"a": ["b", "c"], "b": ["a", "c"], "c": ["a", "b"]}


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["absent", "b"], 5),
        (["a", "a"], 6),
        (["a", "b", "--uuid", "UUID"], 6),
        (["a", "../b"], 2),
        (["a", "admin"], 2),
        (["a", "b", "--provider", "x"], 8),
    ],
)
def test_a_refused_clone_leaves_nothing(daemon: Daemon, arguments: list[str], status: int) -> None:
    uuid = daemon.control("create", "a", "--no-start")["uuid"]
    arguments = [uuid if word == "UUID" else word for word in arguments]
    assert daemon.ctl("clone", *arguments).returncode == status
    assert [info["name"] for info in daemon.control("list")["instances"]] == ["a"]
    assert len(list((daemon.state / "instances").iterdir())) == 1


def test_without_its_key_a_tpm_is_not_cloned(daemon: Daemon) -> None:
    daemon.control("create", "a", "--no-start")
    (daemon.state / "keyring").rename(daemon.directory / "elsewhere")
    for policy in ("copy", "replace"):
        assert daemon.ctl("clone", "a", "b", "--policy", policy).returncode == 8
    (daemon.directory / "elsewhere").rename(daemon.state / "keyring")
    assert len(list((daemon.state / "instances").iterdir())) == 1


def test_a_damaged_tpm_is_not_cloned(daemon: Daemon) -> None:
    uuid = daemon.control("create", "a", "--no-start")["uuid"]
    nvram = daemon.state / "instances" / uuid / "tpm" / "nvram"
    for place in PLACES:
        overwrite(nvram, b"!", place + 400)
    assert daemon.ctl("clone", "a", "b").returncode == 9


def test_a_template_makes_new_tpms_of_the_same_kind(daemon: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "template"
    daemon.control("create", "a", "--no-start", "--pcr-banks", "sha1,sha256", "--no-data-socket")
    assert daemon.ctl("export", "a", str(file)).returncode == 2
    assert daemon.ctl("export", "a", str(file), "--without-secrets").returncode == 0
    assert daemon.ctl("export", "a", str(file), "--without-secrets").returncode == 13
    info = daemon.control("import", str(file), "b")
    assert (info["pcr_banks"], info["data_socket"]) == (["sha1", "sha256"], None)
    assert info["shares_identity_with"] == []
    for text in ("", "[]", "{}", '{"vtpmd-template": 1, "x": 1}', '{"vtpmd-template": 2}', "\0"):
        file.write_text(text)
        result = daemon.ctl("import", str(file), "c")
        assert result.returncode == 13
        assert "Traceback" not in result.stderr
    file.write_text('{"vtpmd-template": 1, "profile": "x", "pcr_banks": []}')
    assert daemon.ctl("import", str(file), "c").returncode == 2

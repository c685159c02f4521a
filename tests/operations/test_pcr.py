"""PCR: what hashlib says is in them after what was extended, as long as there is a TPM."""

import hashlib
import struct

import pytest

from tests.supervisor.harness import execute
from tests.supervisor.stage import Stage
from vtpmd.api import problems
from vtpmd.api.problems import OperationError
from vtpmd.api.schema import CreateRequest, InstanceInfo, StopRequest
from vtpmd.operations.create import create
from vtpmd.operations.pcr import pcr
from vtpmd.operations.stop import stop

SHA256, PCR_EXTEND = 0x000B, 0x182
BANKS = {"sha256": 32, "sha384": 48}
PCRS = set(range(24))


def extend(made: InstanceInfo, index: int, digest: bytes) -> None:
    authorization = struct.pack(">IHBH", 0x40000009, 0, 0, 0)
    body = index.to_bytes(4) + len(authorization).to_bytes(4) + authorization
    body += struct.pack(">IH", 1, SHA256) + digest
    command = struct.pack(">HII", 0x8002, 10 + len(body), PCR_EXTEND) + body
    assert execute({"data_socket": made.data_socket}, command)[0] == 0


async def test_all_banks_are_read_and_what_was_extended(stage: Stage) -> None:
    request = CreateRequest(name="web1", pcr_banks=tuple(BANKS), data_socket=True)
    made = await create(stage.fleet, request)  # it is on, for tools
    zeros = {bank: bytes(size).hex() for bank, size in BANKS.items()}
    before = (await pcr(stage.fleet, "web1")).banks
    assert {bank: set(values) for bank, values in before.items()} == {
        "sha1": set(),
        "sha256": PCRS,
        "sha384": PCRS,
        "sha512": set(),
    }
    assert {bank: before[bank][7] for bank in BANKS} == zeros
    digest = hashlib.sha256(b"event").digest()
    extend(made, 7, digest)
    after = (await pcr(stage.fleet, str(made.uuid))).banks
    assert after["sha256"][7] == hashlib.sha256(bytes(32) + digest).hexdigest()
    assert after == before | {"sha256": before["sha256"] | {7: after["sha256"][7]}}


async def test_what_is_not_running_has_none(stage: Stage) -> None:
    await create(stage.fleet, CreateRequest(name="web1", data_socket=False))
    assert (await pcr(stage.fleet, "web1")).banks == {}  # the TPM is off
    await stop(stage.fleet, "web1", StopRequest())
    for name, problem in (("web1", problems.NOT_RUNNING), ("web2", problems.NOT_FOUND)):
        with pytest.raises(OperationError) as refused:
            await pcr(stage.fleet, name)
        assert refused.value.problem is problem

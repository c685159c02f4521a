"""Metrics: what Prometheus' own parser reads of a fleet that was used."""

import shutil

import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from tests.supervisor.harness import execute
from tests.supervisor.stage import Stage, staged, until
from vtpmd.api.schema import CreateRequest, StopRequest
from vtpmd.kms.errors import KeyUnavailableError
from vtpmd.operations.create import create
from vtpmd.operations.metrics import metrics
from vtpmd.operations.start import start
from vtpmd.operations.stop import stop

GET_RANDOM = bytes.fromhex("80010000000c0000017b0010")
TOO_SHORT = bytes.fromhex("80010000000b0000017b00")
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parsed(text: bytes) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def value(samples: Samples, name: str, /, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


async def scraped(stage: Stage) -> Samples:
    return parsed(await metrics(stage.fleet))


async def test_a_fleet_that_was_used(stage: Stage) -> None:
    request = CreateRequest(name="web1", profile="default-v1 without SHA1", data_socket=True)
    made = await create(stage.fleet, request)
    await create(stage.fleet, CreateRequest(name="web2", start=False))
    before = await scraped(stage)
    for command in (GET_RANDOM, GET_RANDOM, TOO_SHORT):
        execute({"data_socket": made.data_socket}, command)
    instance = stage.fleet.find("web1")
    counted = instance.tally.counts.commands

    def known() -> bool:
        if instance.worker is not None:
            instance.worker.inquire()
        instance.look()
        return instance.tally.counts.commands >= counted + 3

    await until(known)
    samples = await scraped(stage)
    assert value(samples, "vtpmd_instances", state="running") == 1
    assert value(samples, "vtpmd_instances", state="stopped") == 1
    assert value(samples, "vtpmd_instances", state="locked") == 0

    def more(name: str, /, **labels: str) -> float:
        key = name, frozenset(labels.items())
        return samples[key] - before.get(key, 0)

    profile = {"profile": "default-v1"}
    assert more("vtpmd_tpm_responses_total", **profile, **{"class": "success"}) >= 2
    assert more("vtpmd_tpm_responses_total", **profile, **{"class": "other"}) == 1
    assert value(samples, "vtpmd_tpm_command_seconds_count", **profile) >= 3
    assert value(samples, "vtpmd_tpm_command_seconds_sum", **profile) > 0
    assert value(samples, "vtpmd_nv_writes_total", **profile) >= 0
    assert value(samples, "vtpmd_transitions_total", cause="ready") == 1
    assert value(samples, "vtpmd_transitions_total", cause="crashed") == 0
    wrapped = {"provider": "main", "operation": "wrap"}
    assert value(samples, "vtpmd_key_uses_total", **wrapped, outcome="done") >= 2
    assert value(samples, "vtpmd_key_use_seconds_count", provider="main") >= 2
    assert value(samples, "vtpmd_workers") == 1
    memory = value(samples, "vtpmd_worker_memory_bytes")
    assert 1 << 20 < memory == value(samples, "vtpmd_worker_memory_largest_bytes") < 1 << 28
    assert value(samples, "vtpmd_certificate_end_timestamp_seconds", certificate="ek") > 1.7e9
    assert not any("web1" in dict(labels).values() for _, labels in samples)


async def test_keys_that_fail(stage: Stage) -> None:
    await create(stage.fleet, CreateRequest(name="web1"))
    await stop(stage.fleet, "web1", StopRequest())
    stage.provider.fault = KeyUnavailableError("it is away", retry=False)
    with pytest.raises(Exception, match="it is away"):
        await start(stage.fleet, "web1")
    samples = await scraped(stage)
    assert value(samples, "vtpmd_instances", state="locked") == 1
    failed = {"provider": "main", "operation": "unwrap", "outcome": "failed"}
    assert value(samples, "vtpmd_key_uses_total", **failed) == 1
    assert value(samples, "vtpmd_transitions_total", cause="key-unavailable") == 1


async def test_instances_by_name_where_that_is_wanted(nursery: object) -> None:
    async with staged(nursery, metrics={"per_instance": True}) as stage:  # type: ignore[arg-type]
        made = await create(stage.fleet, CreateRequest(name="web1"))
        labels = {"uuid": str(made.uuid), "name": "web1"}
        assert value(await scraped(stage), "vtpmd_instance_commands", **labels) == 0


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
async def test_promtool_finds_nothing_to_complain_about(stage: Stage) -> None:
    await create(stage.fleet, CreateRequest(name="web1"))
    text = await metrics(stage.fleet)
    command = ["promtool", "check", "metrics"]
    done = await trio.run_process(command, stdin=text, capture_stdout=True, capture_stderr=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")

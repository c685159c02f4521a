"""Unlock: by itself, by hand and all at once, when a key is there again."""

from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from tests.operations.steps import hung_up_on, wanted
from tests.supervisor.stage import Stage
from vtpmd.api import problems
from vtpmd.api.problems import OperationError
from vtpmd.api.schema import CreateRequest, UnlockRequest
from vtpmd.kms.errors import KeyUnavailableError
from vtpmd.operations.create import create
from vtpmd.operations.info import info as info_of
from vtpmd.operations.start import start
from vtpmd.operations.unlock import unlock, unlock_all
from vtpmd.supervisor.fleet import Fleet
from vtpmd.supervisor.keys import Keys


async def test_a_locked_instance_is_unlocked_when_the_key_is_back(stage: Stage) -> None:
    await create(stage.fleet, wanted("web1", start=False))
    stage.provider.fault = KeyUnavailableError("the KMS is down", retry=True)
    with pytest.raises(OperationError) as refused:
        await start(stage.fleet, "web1")
    assert refused.value.problem is problems.KEY_UNAVAILABLE
    info = await info_of(stage.fleet, "web1")
    assert info.state == "locked"
    assert "the KMS is down; next attempt in 1.0 s" in info.reason
    assert await hung_up_on(info)
    stage.provider.fault = None
    info = await stage.until("web1", "running")  # by itself
    assert not await hung_up_on(info)


async def test_unlock_tries_all_locked_instances_of_a_provider_at_once(stage: Stage) -> None:
    for name, provider in (("web1", "main"), ("web2", "main"), ("db1", "other")):
        await create(stage.fleet, CreateRequest(name=name, provider=provider, start=False))
    stage.provider.fault = stage.other.fault = KeyUnavailableError("the KMS is down", retry=True)
    for name in ("web1", "web2", "db1"):
        with pytest.raises(OperationError):
            await start(stage.fleet, name)
    stage.provider.fault = None
    result = await unlock_all(stage.fleet, UnlockRequest(provider="main"))
    assert (sorted(result.unlocked), result.failed) == (["web1", "web2"], ())
    result = await unlock_all(stage.fleet, UnlockRequest(provider=None))
    assert (result.unlocked, [each.name for each in result.failed]) == ((), ["db1"])
    assert "the KMS is down" in result.failed[0].detail
    stage.other.fault = None
    assert (await unlock(stage.fleet, "db1")).state == "running"
    assert (await unlock(stage.fleet, "db1")).state == "running"


async def test_an_instance_whose_provider_is_configured_no_more_is_locked(stage: Stage) -> None:
    await create(stage.fleet, CreateRequest(name="web1", provider="other", start=False))
    entries = stage.host.registry.load()
    configured = stage.host.keys
    without = Fleet(replace(stage.host, keys=Keys({"main": stage.provider}, "main")))
    with capture_logs() as logs:
        await without.open(entries)
    assert {
        "log_level": "warning",
        "provider": "other",
        "instances": ["web1"],
    }.items() <= next(
        entry for entry in logs if entry["event"] == "key-provider-not-configured"
    ).items()
    info = await info_of(without, "web1")
    assert (info.state, info.reason) == ("locked", "its key provider is not configured: other")
    with pytest.raises(OperationError, match="there is no key provider other"):
        await unlock(without, "web1")
    assert (await info_of(without, "web1")).state == "locked"
    again = Fleet(replace(stage.host, keys=configured))
    await again.open(entries)
    assert (await info_of(again, "web1")).state == "stopped"


async def test_what_was_not_to_be_served_is_stopped_when_it_is_unlocked(stage: Stage) -> None:
    await create(stage.fleet, CreateRequest(name="web1", start=False))
    stage.fleet.find("web1").lock("for a test")
    assert (await unlock(stage.fleet, "web1")).state == "stopped"

"""Profiles and PCR banks are those that the zygote has reported, for requests and defaults."""

from dataclasses import replace

import pytest

from tests.supervisor.stage import Stage
from vtpmd.api import problems
from vtpmd.api.problems import OperationError
from vtpmd.api.schema import CreateRequest
from vtpmd.config.loader import ConfigurationError
from vtpmd.config.schema import Configuration, Defaults
from vtpmd.daemon import _check_defaults
from vtpmd.operations.capabilities import capabilities as capabilities_of
from vtpmd.operations.create import create

UNKNOWN = [
    ({"profile": "default-v9 without SHA1"}, "profile: the profiles are default-v1, sha3-v1"),
    ({"pcr_banks": ["sha256", "md5"]}, "pcr_banks: the PCR banks are sha1, sha256, sha384"),
]


@pytest.mark.parametrize(("fields", "reason"), UNKNOWN)
async def test_a_request_for_what_cannot_be_made_is_refused(
    stage: Stage, fields: dict[str, object], reason: str
) -> None:
    request = replace(CreateRequest(name="web1"), **fields)  # type: ignore[arg-type]
    with pytest.raises(OperationError, match=reason) as caught:
        await create(stage.fleet, request)
    assert caught.value.problem is problems.INVALID
    assert list(stage.fleet) == []


@pytest.mark.parametrize(("fields", "reason"), UNKNOWN)
async def test_defaults_that_cannot_be_made_are_refused(
    stage: Stage, fields: dict[str, object], reason: str
) -> None:
    await _check_defaults(Configuration(), stage.host.zygote)
    defaults = Defaults.model_construct(**(Defaults().model_dump() | fields))
    configuration = Configuration().model_copy(update={"defaults": defaults})
    with pytest.raises(ConfigurationError, match=f"defaults[.]{reason}"):
        await _check_defaults(configuration, stage.host.zygote)


async def test_capabilities_are_what_the_zygote_reported(stage: Stage) -> None:
    capabilities = await capabilities_of(stage.fleet)
    assert capabilities.profiles == ("default-v1", "sha3-v1", "fips-v1", "pqc-v1")
    assert capabilities.pcr_banks == ("sha1", "sha256", "sha384", "sha512")

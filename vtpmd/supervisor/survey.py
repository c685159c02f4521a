"""Whether the key providers can be used, asked by a daemon or without one."""

import contextlib
from typing import Any, NamedTuple

import trio

from vtpmd.config.schema import Configuration
from vtpmd.kms.errors import KeyProviderError
from vtpmd.telemetry.audit import Audit

from .keys import Keys, ProviderState


class Surveyed(NamedTuple):
    """A key provider, and what it reports about itself; nothing if it cannot be reached."""

    state: ProviderState
    description: dict[str, Any]


async def survey(keys: Keys) -> list[Surveyed]:
    """All configured providers, as they are now."""
    found = []
    for state in await keys.survey():
        description: dict[str, Any] = {}
        with contextlib.suppress(KeyProviderError):
            description = await state.provider.describe()
        found.append(Surveyed(state, description))
    return found


def configured(configuration: Configuration, audit: Audit) -> Keys:
    """The key providers of a configuration, of which none is connected yet."""
    state = configuration.state_dir
    providers = {each.name: each.open(state) for each in configuration.key_providers}
    default = configuration.provider_for_new_instances
    return Keys(providers, default, configuration.recovery_provider, audit)


def survey_alone(configuration: Configuration) -> list[Surveyed]:
    """The same as `survey` where no daemon runs."""

    async def ask() -> list[Surveyed]:
        async with contextlib.aclosing(configured(configuration, Audit())) as keys:
            return await survey(keys)

    return trio.run(ask)

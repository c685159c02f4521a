"""What can be done on this host."""

import trio

from vtpmd import __version__
from vtpmd.api import names
from vtpmd.api.schema import Capabilities
from vtpmd.doctor import places
from vtpmd.doctor.finding import examine
from vtpmd.supervisor.errors import KeyMissingError
from vtpmd.supervisor.fleet import Fleet
from vtpmd.supervisor.keys import Keys, ProviderState
from vtpmd.supervisor.refusals import refusals

from .describe import provider_info


async def capabilities(fleet: Fleet) -> Capabilities:
    """Versions, choices, key providers, and whether an instance can be created now."""
    keys = fleet.host.keys
    survey = await keys.survey()
    with refusals():
        models = await fleet.host.zygote.models()
    obstacle = _obstacle(keys, survey) or await _no_space(fleet)
    return Capabilities(
        version=__version__,
        create="available" if obstacle is None else f"unavailable: {obstacle}",
        profiles=models.profiles,
        pcr_banks=models.pcr_banks,
        key_providers=tuple(map(provider_info, survey)),
        sandbox=fleet.host.configuration.sandbox,
        states=names.STATES,
    )


async def _no_space(fleet: Fleet) -> str | None:
    """Why there is no room for another TPM, if there is none."""
    configuration = fleet.host.configuration
    (found,) = await trio.to_thread.run_sync(examine, (places.SPACE,), configuration)
    return found.reason if found.verdict == names.BAD else None


def _obstacle(keys: Keys, survey: list[ProviderState]) -> str | None:
    """Why no new instance would get a key."""
    try:
        chosen = keys.choose(None)
    except KeyMissingError as error:
        return str(error)
    return {state.provider.name: state.fault for state in survey}[chosen.name]

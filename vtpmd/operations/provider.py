"""What administrators can do with key providers."""

import base64
import contextlib
from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any

from vtpmd.api import problems
from vtpmd.api.problems import OperationError
from vtpmd.api.schema import (
    KeyImportRequest,
    KeyImportResult,
    KeyringBackup,
    ProviderDetails,
    ProviderInfo,
    ProviderList,
    RotateResult,
)
from vtpmd.kms.provider import KeyHolder, KeyProviderError, KeyUnavailable
from vtpmd.supervisor.fleet import Fleet
from vtpmd.supervisor.keys import Keys, ProviderState


def provider_info(state: ProviderState) -> ProviderInfo:
    """A provider as it is shown, without what it reports about itself."""
    return ProviderInfo(**_shown(state))


def _shown(state: ProviderState) -> dict[str, Any]:
    return {
        "name": state.provider.name,
        "type": state.provider.type,
        "default": state.is_default,
        "recovery": state.is_recovery,
        "available": state.fault is None,
        "reason": state.fault or "ready",
    }


async def describe_all(fleet: Fleet) -> ProviderList:
    """Every configured provider, and how many instances it holds the keys of."""
    users = Counter(instance.metadata.provider for instance in fleet)
    providers = []
    for state in await fleet.host.keys.survey():
        provider, description = state.provider, {}
        with contextlib.suppress(KeyProviderError):
            description = await provider.describe()
        providers.append(
            ProviderDetails(
                **_shown(state),
                instances=users[provider.name],
                description=description,
            )
        )
    missing = sorted(set(users) - {each.name for each in providers} - {""})
    return ProviderList(providers=tuple(providers), not_configured=tuple(missing))


async def rotate(keys: Keys, name: str) -> RotateResult:
    """A fresh KEK. Raises OperationError."""
    with _refusals(name):
        return RotateResult(provider=name, key_version=await _holder(keys, name).rotate())


async def backup(keys: Keys, name: str, passphrase: str) -> KeyringBackup:
    """All KEKs, to be opened with the passphrase. Raises OperationError."""
    with _refusals(name):
        made = await _holder(keys, name).backup(passphrase)
    return KeyringBackup(
        backup=base64.b64encode(made.data).decode(), key_versions=tuple(made.versions)
    )


async def note_backup(keys: Keys, name: str, versions: Collection[str]) -> None:
    """A backup with these KEK versions has been written. Raises OperationError."""
    with _refusals(name):
        await _holder(keys, name).note_backup(versions)


async def restore(keys: Keys, name: str, request: KeyImportRequest) -> KeyImportResult:
    """Add the KEKs of a backup. Raises OperationError."""
    try:
        data = base64.b64decode(request.backup, validate=True)
    except ValueError:
        raise OperationError(problems.INVALID, "backup: not in base64") from None
    with _refusals(name):
        added = await _holder(keys, name).restore(data, request.passphrase)
    return KeyImportResult(provider=name, added=added)


def _holder(keys: Keys, name: str) -> KeyHolder:
    if not keys.known(name):
        raise OperationError(problems.NO_PROVIDER, f"There is no key provider {name!r}.")
    provider = keys.choose(name)
    if not isinstance(provider, KeyHolder):
        raise OperationError(
            problems.UNAVAILABLE,
            f"The keys of {name} (type {provider.type}) are not kept by vtpmd: rotate and save "
            "them where they are.",
        )
    return provider


@contextlib.contextmanager
def _refusals(name: str) -> Iterator[None]:
    try:
        yield
    except KeyUnavailable as error:
        raise OperationError(problems.KEY_UNAVAILABLE, f"Key provider {name}: {error}.") from None
    except KeyProviderError as error:
        raise OperationError(problems.KEYS_REFUSED, f"Key provider {name}: {error}.") from None

"""What administrators can do with key providers."""

import base64
import contextlib
from collections import Counter
from collections.abc import Iterator

from vtpmd.api import problems
from vtpmd.api.problems import OperationError
from vtpmd.api.schema import (
    BackupNote,
    BackupRequest,
    KeyImportRequest,
    KeyImportResult,
    KeyringBackup,
    ProviderList,
    RotateResult,
)
from vtpmd.kms.errors import KeyProviderError, KeyUnavailableError
from vtpmd.kms.provider import KeyHolder
from vtpmd.supervisor.fleet import Fleet
from vtpmd.supervisor.survey import survey

from .describe import provider_details


async def list_(fleet: Fleet) -> ProviderList:
    """Every configured provider, and how many instances it holds the keys of."""
    users = Counter(instance.metadata.provider for instance in fleet)
    providers = [
        provider_details(state, users[state.provider.name], description)
        for state, description in await survey(fleet.host.keys)
    ]
    missing = sorted(set(users) - {each.name for each in providers} - {""})
    return ProviderList(providers=tuple(providers), not_configured=tuple(missing))


async def rotate(fleet: Fleet, name: str) -> RotateResult:
    """A fresh KEK. Raises OperationError."""
    with _refusals(name):
        return RotateResult(provider=name, key_version=await _holder(fleet, name).rotate())


async def backup(fleet: Fleet, name: str, request: BackupRequest) -> KeyringBackup:
    """All KEKs, to be opened with the passphrase. Raises OperationError."""
    with _refusals(name):
        made = await _holder(fleet, name).backup(request.passphrase)
    return KeyringBackup(
        backup=base64.b64encode(made.data).decode(), key_versions=tuple(made.versions)
    )


async def note_backup(fleet: Fleet, name: str, request: BackupNote) -> None:
    """A backup with these KEK versions has been written. Raises OperationError."""
    with _refusals(name):
        await _holder(fleet, name).note_backup(request.key_versions)


async def import_(fleet: Fleet, name: str, request: KeyImportRequest) -> KeyImportResult:
    """Add the KEKs of a backup. Raises OperationError."""
    try:
        data = base64.b64decode(request.backup, validate=True)
    except ValueError:
        raise OperationError(problems.INVALID, "backup: not in base64") from None
    with _refusals(name):
        added = await _holder(fleet, name).restore(data, request.passphrase)
    return KeyImportResult(provider=name, added=added)


def _holder(fleet: Fleet, name: str) -> KeyHolder:
    keys = fleet.host.keys
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
    except KeyUnavailableError as error:
        raise OperationError(problems.KEY_UNAVAILABLE, f"Key provider {name}: {error}.") from None
    except KeyProviderError as error:
        raise OperationError(problems.KEYS_REFUSED, f"Key provider {name}: {error}.") from None

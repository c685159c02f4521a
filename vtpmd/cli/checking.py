"""What `vtpmd check-config` looks at: the file, and what it stands for on this host."""

from pathlib import Path
from typing import Final

from vtpmd.config.files import fault
from vtpmd.config.loader import ConfigurationError, Inspection, inspect
from vtpmd.config.schema import Configuration
from vtpmd.doctor.alone import become, user_of
from vtpmd.ipc.messages import ZygoteReady
from vtpmd.storage.errors import StorageError
from vtpmd.supervisor.models import unknown_models
from vtpmd.supervisor.usage import providers_in_use
from vtpmd.tpm.engine import bank_names, profile_names

CREDENTIALS: Final = Path("/run/credentials")
"""Where systemd puts what a unit is given, while it runs."""


def check(path: Path) -> tuple[list[str], str | None]:
    """All problems of a configuration, and what keeps us from looking for more, if anything.

    A process of root goes on as the daemon's user.
    """
    try:
        inspected = inspect(path)
    except ConfigurationError as error:
        return error.problems, None
    configuration, trouble = inspected.configuration, None
    if configuration is not None:
        become(user_of(configuration))
        _check_models(inspected, configuration)
        _check_files(inspected)
        trouble = _check_users(inspected, configuration)
    return inspected.problems, trouble


def _check_models(inspected: Inspection, configuration: Configuration) -> None:
    defaults = configuration.defaults
    models = ZygoteReady(profile_names(), bank_names())
    for setting, reason in unknown_models(models, defaults.profile, defaults.pcr_banks):
        inspected.add(("defaults", setting), reason)


def _check_files(inspected: Inspection) -> None:
    for place, path in inspected.files():
        if not path.is_relative_to(CREDENTIALS) and (reason := fault(path)) is not None:
            inspected.add(place, reason)


def _check_users(inspected: Inspection, configuration: Configuration) -> str | None:
    """Which key providers that instances need are missing; why that is not known, if it is not."""
    try:
        users = providers_in_use(configuration.state_dir)
    except StorageError as error:
        return str(error)
    if any("key_providers" in text for _, text in inspected.faults):
        return None  # one that is wrong is there all the same
    for name in sorted(users.keys() - {each.name for each in configuration.key_providers}):
        inspected.add(
            ("key_providers",),
            f"{name} is not configured, but holds the keys of {', '.join(users[name])}",
        )
    return None

"""What can be said of a configuration where no daemon runs: as its user sees it."""

import os
import pwd
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from vtpmd.api.schema import Finding
from vtpmd.config.loader import ConfigurationError, load
from vtpmd.config.schema import Configuration
from vtpmd.storage.errors import StorageError
from vtpmd.supervisor.survey import survey_alone
from vtpmd.supervisor.usage import providers_in_use

from . import keys, places
from .finding import Check, Found, bad, examine, ok, unknown

USER: Final = "vtpmd"
"""Whom packages run the daemon as."""
_CONFIGURATION: Final = "configuration"


def judge(file: Path) -> Iterator[Finding]:
    """What the configuration in `file` leads to. Root becomes the daemon's user meanwhile."""
    try:
        configuration = load(file)
    except ConfigurationError as error:
        problems = list(map(_problem, error.problems))
        yield from Check[Path](_CONFIGURATION, lambda _: problems).findings(file)
        return
    become(user_of(configuration))
    yield from Check(_CONFIGURATION, _readable).findings(file)
    yield from examine(places.CHECKS, configuration)
    try:
        users = providers_in_use(configuration.state_dir)
    except StorageError as error:
        users, fault = {}, unknown(f"{error}: which instances there are is not known")
        yield from Check[Path]("instances", lambda _: fault).findings(file)
    yield from examine(keys.CHECKS, keys.Holders.of(survey_alone(configuration), users))


def _problem(text: str) -> Found:
    return bad(text, "correct it; `vtpmd check-config` tells whether all is well")


def _readable(file: Path) -> Found:
    if os.access(file, os.R_OK):
        return ok(f"{file} has no faults")
    name = places.me()
    return bad(f"{file} cannot be read by {name}", f"chgrp {name} {file} and chmod 0640 {file}")


def user_of(configuration: Configuration) -> int | None:
    """Whose daemon works with this configuration, as far as files or users say."""
    try:
        return configuration.state_dir.stat().st_uid
    except OSError:
        pass
    try:
        return pwd.getpwnam(USER).pw_uid
    except KeyError:
        return None


def become(uid: int | None) -> None:
    """Go on as this user with the groups it has, if we are root and it is another."""
    if uid is None or uid == 0 or os.geteuid() != 0:
        return
    try:
        user = pwd.getpwuid(uid)
        os.initgroups(user.pw_name, user.pw_gid)
        os.setgid(user.pw_gid)
    except KeyError:  # a number without a name has no groups
        os.setgroups([])
        os.setgid(uid)
    os.setuid(uid)

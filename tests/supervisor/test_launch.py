"""The order to serve an instance: who may connect to it."""

import grp
import pwd
from pathlib import Path
from typing import Any

import pytest

from tests.supervisor.test_keys import DEK, sealed
from tests.supervisor.test_metadata import SAMPLE
from vtpmd.config.schema import Configuration
from vtpmd.ipc.messages import Serve
from vtpmd.storage.slot import Slot
from vtpmd.supervisor.endpoints import ownership
from vtpmd.supervisor.errors import EndpointError
from vtpmd.supervisor.launch import serve_order


def order(tmp_path: Path, startup: bool = False, **settings: Any) -> Serve:
    directories = {"state_dir": str(tmp_path), "runtime_dir": "/run/x"}
    configuration = Configuration.model_validate({**directories, "sockets": settings})
    envelope = sealed(Slot("test", "main", "k", "1", "none", b"wrapped", 1))
    return serve_order(configuration, SAMPLE, envelope, startup, bytearray(DEK))


@pytest.mark.parametrize(
    ("mode", "checked"), [(0o600, True), (0o660, True), (0o664, True), (0o666, False)]
)
def test_peers_are_checked_unless_the_mode_lets_everybody_in(
    tmp_path: Path, mode: int, checked: bool
) -> None:
    found = order(tmp_path, mode=f"{mode:04o}")
    assert found.check_peers is checked
    assert (found.peer_uids, found.peer_gids) == ((), ())


def test_the_default_mode_is_not_for_everybody(tmp_path: Path) -> None:
    assert order(tmp_path).check_peers


def test_owner_and_group_may_connect(tmp_path: Path) -> None:
    user, group = pwd.getpwall()[-1], grp.getgrall()[-1]
    found = order(tmp_path, owner=user.pw_name, group=group.gr_name)
    assert (found.check_peers, found.peer_uids, found.peer_gids) == (
        True,
        (user.pw_uid,),
        (group.gr_gid,),
    )


@pytest.mark.parametrize("startup", [True, False])
def test_it_names_the_instance_and_its_key(tmp_path: Path, startup: bool) -> None:
    found = order(tmp_path, startup=startup)
    assert (found.uuid, found.name, bytes(found.key.dek)) == (SAMPLE.uuid, SAMPLE.name, DEK)
    assert [slot.provider for slot in found.key.slots] == ["main"]
    assert found.startup is startup


def test_an_owner_that_is_no_more_is_told(tmp_path: Path) -> None:
    settings = Configuration.model_validate(
        {"state_dir": str(tmp_path), "runtime_dir": "/run/x"}
    ).sockets
    gone = settings.model_copy(update={"owner": "no-such-user-here"})
    with pytest.raises(EndpointError, match="no-such-user-here"):
        ownership(gone)
    assert ownership(settings) == (-1, -1)

"""The order to serve an instance."""

from pathlib import Path

import pytest

from tests.supervisor.test_keys import DEK, sealed
from tests.supervisor.test_metadata import SAMPLE
from vtpmd.config.schema import Configuration
from vtpmd.ipc.messages import Serve
from vtpmd.storage.key import Key
from vtpmd.storage.slot import Slot
from vtpmd.supervisor.access import Grant
from vtpmd.supervisor.launch import serve_order


def order(tmp_path: Path, grant: Grant, startup: bool = False) -> Serve:
    directories = {"state_dir": str(tmp_path), "runtime_dir": "/run/x"}
    configuration = Configuration.model_validate(directories)
    envelope = sealed(Slot("test", "main", "k", "1", "none", b"wrapped", 1))
    key = Key(bytearray(DEK), envelope.header.dek_id, envelope.slots)
    return serve_order(configuration, SAMPLE, envelope.header, grant, startup, key)


def test_it_says_who_may_connect(tmp_path: Path) -> None:
    found = order(tmp_path, Grant(1000, 107, 0o660))
    assert (found.check_peers, found.peer_uids, found.peer_gids) == (True, (1000,), (107,))


@pytest.mark.parametrize("startup", [True, False])
def test_it_names_the_instance_and_its_key(tmp_path: Path, startup: bool) -> None:
    found = order(tmp_path, Grant(None, None, 0o660), startup)
    assert (found.uuid, found.name, bytes(found.key.dek)) == (SAMPLE.uuid, SAMPLE.name, DEK)
    assert [slot.provider for slot in found.key.slots] == ["main"]
    assert found.startup is startup

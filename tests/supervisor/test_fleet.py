"""Finding instances, and who has which name, whichever way it comes in."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from uuid import UUID, uuid4

import pytest

from tests.supervisor.harness import Daemon
from tests.supervisor.test_metadata import SAMPLE
from vtpmd.api import problems
from vtpmd.api.problems import OperationError
from vtpmd.config.schema import Configuration
from vtpmd.supervisor.fleet import Fleet
from vtpmd.supervisor.host import Host
from vtpmd.supervisor.metadata import Metadata
from vtpmd.supervisor.registry import Entry

OTHER = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    configuration = Configuration.model_validate(
        {"state_dir": str(tmp_path / "state"), "runtime_dir": "/run/x"}
    )
    nothing = cast("Any", None)
    return Fleet(Host(configuration, nothing, nothing, nothing, nothing, nothing, nothing))


def added(fleet: Fleet, name: str, **changes: Any) -> Metadata:
    uuid = uuid4()
    metadata = replace(SAMPLE, name=name, uuid=uuid, **{"identity": uuid, **changes})
    fleet.add(Entry(metadata))
    return metadata


def refusal(fleet: Fleet, metadata: Metadata, **options: Any) -> problems.Problem | None:
    try:
        with fleet.reserved(metadata, **options):
            return None
    except OperationError as refused:
        return refused.problem


def test_an_instance_is_found_by_its_name_and_by_every_form_of_its_uuid(fleet: Fleet) -> None:
    web, other = added(fleet, "web1"), added(fleet, "web2")
    for word in ("web1", str(web.uuid), str(web.uuid).upper(), web.uuid.hex):
        assert fleet.find(word).metadata == web
    assert [each.metadata.name for each in fleet] == ["web1", "web2"]
    fleet.drop(web.uuid)
    for word in ("web1", str(web.uuid), str(uuid4()), ""):
        with pytest.raises(OperationError) as refused:
            fleet.find(word)
        assert refused.value.problem is problems.NOT_FOUND
    assert fleet.find("web2").metadata == other


def test_who_shares_an_identity_is_told_of_the_others(fleet: Fleet) -> None:
    first, stranger = added(fleet, "c"), added(fleet, "x")
    second = added(fleet, "a", identity=first.identity)
    third = added(fleet, "b", identity=first.identity)
    assert fleet.sharing_identity(first) == ("a", "b")
    assert fleet.sharing_identity(second) == ("b", "c")
    assert fleet.sharing_identity(stranger) == ()
    fleet.drop(first.uuid)
    assert fleet.sharing_identity(first) == ("a", "b")  # the secrets of one that was deleted
    assert fleet.sharing_identity(third) == ("a",)


def test_sharing_is_looked_up_and_not_searched_for(fleet: Fleet) -> None:
    """A list of all instances asks this of each."""
    asked = 0

    class Counting(Metadata):
        def __getattribute__(self, name: str) -> Any:
            nonlocal asked
            asked += 1
            return super().__getattribute__(name)

    for number in range(100):
        uuid = uuid4()
        fields = {**vars(SAMPLE), "name": f"web{number}", "uuid": uuid, "identity": uuid}
        fleet.add(Entry(Counting(**fields)))
    asked = 0
    assert fleet.sharing_identity(fleet.find("web7").metadata) == ()
    assert asked < 10


def test_names_and_uuids_are_kept_while_an_instance_is_made(fleet: Fleet) -> None:
    held = added(fleet, "web1")
    coming = replace(SAMPLE, name="web2", uuid=uuid4())
    with fleet.reserved(coming):
        assert refusal(fleet, replace(coming, uuid=uuid4())) is problems.EXISTS
        assert refusal(fleet, replace(coming, name="web3")) is problems.EXISTS
    assert refusal(fleet, coming) is None
    assert refusal(fleet, replace(coming, name="web1")) is problems.EXISTS
    assert refusal(fleet, replace(coming, uuid=held.uuid)) is problems.EXISTS
    old = fleet.find("web1")
    assert refusal(fleet, replace(held, name="web9"), replacing=old) is None
    added(fleet, "web9")
    assert refusal(fleet, replace(held, name="web9"), replacing=old) is problems.EXISTS


@pytest.mark.parametrize("name", ["../x", "admin", "x" * 65, "", OTHER, OTHER.replace("-", "")])
def test_a_name_that_nobody_may_have_is_reserved_for_nobody(fleet: Fleet, name: str) -> None:
    assert refusal(fleet, replace(SAMPLE, name=name, uuid=uuid4())) is problems.INVALID


def test_a_name_whose_socket_has_no_room_is_refused(fleet: Fleet) -> None:
    long = Configuration.model_validate({"state_dir": "/x", "runtime_dir": f"/{'r' * 60}"})
    tight = Fleet(replace(fleet.host, configuration=long))
    assert refusal(tight, replace(SAMPLE, name="n" * 30, uuid=uuid4())) is None
    assert refusal(tight, replace(SAMPLE, name="n" * 64, uuid=uuid4())) is problems.INVALID


@pytest.mark.parametrize("form", [str, lambda uuid: str(uuid).upper(), lambda uuid: uuid.hex])
def test_nobody_gets_the_uuid_of_another_as_a_name(
    daemon: Daemon, tmp_path: Path, form: Callable[[UUID], str]
) -> None:
    """Through create, clone, restore and import; the registry's own test has what was stored."""
    name = form(UUID(daemon.control("create", "web1", "--no-start")["uuid"]))
    daemon.control("create", "web2", "--no-start")
    bundle, template = str(tmp_path / "bundle"), str(tmp_path / "template")
    daemon.control("backup", "web2", bundle)
    daemon.control("delete", "web2", "--yes")
    daemon.control("export", "web1", template, "--without-secrets")
    own = ("--uuid", str(uuid4()))
    for arguments, status in (
        (["create", name], 6),
        (["create", name, *own], 2),
        (["clone", "web1", name], 6),
        (["clone", "web1", name, *own], 2),
        (["restore", bundle, "--name", name], 2),
        (["import", template, name], 6),
        (["import", template, name, *own], 2),
    ):
        result = daemon.ctl(*arguments)
        assert result.returncode == status, (arguments, result.stderr)
    assert [info["name"] for info in daemon.control("list")["instances"]] == ["web1"]
    assert daemon.control("info", name)["name"] == "web1"

"""What a worker says of itself is passed on."""

from dataclasses import fields

from tests.compat.samples import MESSAGES
from vtpmd.ipc.messages import StatusReply
from vtpmd.operations.describe import _worker_info


def test_all_that_is_shown_of_a_worker_is_what_it_said() -> None:
    """Its sample has no defaults, so that a field that is forgotten differs."""
    status = MESSAGES["StatusReply"]
    assert isinstance(status, StatusReply)
    shown = vars(_worker_info(4711, status))
    said = {each.name for each in fields(StatusReply)} & shown.keys()
    assert shown.keys() - said == {"pid", "document"}
    assert {name: shown[name] for name in said} == {name: getattr(status, name) for name in said}

"""Who may connect to an instance: its own owner, group and mode before the configuration's."""

import grp
import pwd
from dataclasses import replace

import pytest

from tests.supervisor.test_metadata import SAMPLE
from vtpmd.api import problems
from vtpmd.api.problems import OperationError
from vtpmd.config.schema import Sockets
from vtpmd.ipc.messages import Admit
from vtpmd.supervisor.access import Access, Grant, check_access, granted
from vtpmd.supervisor.errors import EndpointError
from vtpmd.supervisor.metadata import Metadata

USER, GROUP = pwd.getpwall()[-1], grp.getgrall()[-1]
CONFIGURED = Sockets(mode=0o600, owner=USER.pw_name, group=GROUP.gr_name)


def instance(owner: str | None = None, mode: str | None = None) -> Metadata:
    return replace(SAMPLE, owner=owner, mode=mode)


@pytest.mark.parametrize(
    ("owner", "mode", "grant"),
    [
        (None, None, Grant(USER.pw_uid, GROUP.gr_gid, 0o600)),
        (None, "0660", Grant(USER.pw_uid, GROUP.gr_gid, 0o660)),
        ("107", None, Grant(107, None, 0o660)),
        ("+107:+108", None, Grant(107, 108, 0o660)),
        (f"{USER.pw_name}:{GROUP.gr_name}", "0640", Grant(USER.pw_uid, GROUP.gr_gid, 0o640)),
        (f":{GROUP.gr_name}", None, Grant(None, GROUP.gr_gid, 0o660)),
        ("4294967294", None, Grant(0xFFFFFFFE, None, 0o660)),
    ],
)
def test_what_is_its_own_goes_before_what_is_configured(
    owner: str | None, mode: str | None, grant: Grant
) -> None:
    """Never a group of the configuration beside an owner of its own: that is every machine's."""
    assert granted(CONFIGURED, instance(owner, mode)) == grant


def test_nobody_else_is_let_in_by_default() -> None:
    assert granted(Sockets(), instance()) == Grant(None, None, 0o660)
    assert Grant(None, None, 0o660).order == Admit(True, (), ())


@pytest.mark.parametrize(
    ("mode", "order"),
    [
        (0o600, Admit(True, (1000,), ())),
        (0o640, Admit(True, (1000,), ())),  # connecting takes the right to write
        (0o660, Admit(True, (1000,), (107,))),
        (0o664, Admit(True, (1000,), (107,))),
        (0o666, Admit(False, (1000,), (107,))),
    ],
)
def test_the_worker_is_told_what_the_mode_says(mode: int, order: Admit) -> None:
    assert Grant(1000, 107, mode).order == order


@pytest.mark.parametrize(
    ("owner", "reason"),
    [
        ("no-such-user", "there is no user 'no-such-user'"),
        (f"{USER.pw_name}:no-such", "there is no group 'no-such'"),
        ("107:", "there is no group ''"),
        (":", "there is no group ''"),
        ("107:108:109", "there is no group '108:109'"),
        ("-1", "there is no user '-1'"),
        ("4294967295", "there is no user '4294967295'"),
        ("\u0661\u0660", "there is no user"),
        ("1_0", "there is no user"),
    ],
)
def test_who_is_not_there_is_refused_and_told_later(owner: str, reason: str) -> None:
    with pytest.raises(OperationError, match=f"owner: {reason}") as refused:
        check_access(CONFIGURED, instance(owner))
    assert refused.value.problem is problems.INVALID
    with pytest.raises(EndpointError, match=f"{reason}.*; `vtpmctl set web1 --owner` gives"):
        granted(CONFIGURED, instance(owner))


def test_a_configured_group_that_is_gone_is_not_the_request_s_fault() -> None:
    gone = CONFIGURED.model_copy(update={"group": "no-such"})
    check_access(gone, instance())
    with pytest.raises(EndpointError, match=r"no group 'no-such'; `sockets:` of vtpmd\.yaml"):
        granted(gone, instance())


def test_words_are_kept_as_they_are_written() -> None:
    assert Access.of(CONFIGURED, instance("+107:kvm")) == Access("+107", "kvm", 0o660, own=True)

"""Checks of keys, the authority and instances, by what is said of them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.api.samples import filled
from vtpmd import __version__
from vtpmd.api.schema import Finding, InstanceInfo, WorkerInfo
from vtpmd.doctor import instances, keys
from vtpmd.doctor.authority import CHECKS as AUTHORITY
from vtpmd.doctor.finding import examine
from vtpmd.doctor.instances import Inventory
from vtpmd.doctor.keys import Holder, Holders

NOW = datetime.now(UTC)


def about(findings: list[Finding], check: str) -> list[tuple[str, str]]:
    return [(each.verdict, each.reason) for each in findings if each.check == check]


def holder(name: str = "p", fault: str | None = None, **more: Any) -> Holder:
    return Holder(name, "local", fault, more.pop("needed", True), more)


def test_key_providers() -> None:
    holders = Holders(
        [holder("a"), holder("b", "it is away"), holder("c", "it is away", needed=False)],
        {"d": ["web1", "web2"]},
    )
    assert about(examine(keys.CHECKS, holders), "key providers") == [
        ("ok", "a (type local) wraps keys"),
        ("bad", "b (type local) cannot wrap keys: it is away"),
        ("warning", "c (type local) cannot wrap keys: it is away"),
        ("bad", "d is not configured, but holds the keys of web1, web2"),
    ]
    assert about(examine(keys.CHECKS, Holders([], {})), "key providers")[0][0] == "bad"


def test_a_keyring_that_was_not_saved() -> None:
    versions = [{"id": "1", "saved": True}, {"id": "2", "saved": False}]
    found = examine(keys.CHECKS, Holders([holder(versions=versions)], {}))
    ((verdict, reason),) = about(found, "backup of keys")
    assert (verdict, reason.startswith("KEK 2 of p is nowhere but")) == ("warning", True)
    found = examine(keys.CHECKS, Holders([holder(versions=versions[:1])], {}))
    assert about(found, "backup of keys") == [("ok", "every KEK of p has been saved")]
    for other in ([], ["x"], [{"id": "1"}]):  # a provider of somebody else's says what it likes
        found = examine(keys.CHECKS, Holders([holder(versions=other)], {}))
        assert about(found, "backup of keys") == []


@pytest.mark.parametrize(
    ("days", "verdict"), [(-1, "bad"), (1, "warning"), (29, "warning"), (31, "ok")]
)
def test_a_certificate_that_ends(days: int, verdict: str) -> None:
    end = (NOW + timedelta(days=days, minutes=1)).isoformat()
    found = examine(keys.CHECKS, Holders([holder(certificate_expires=end)], {}))
    ((judged, reason),) = about(found, "certificates for key providers")
    assert (judged, end[:10] in reason) == (verdict, True)


def test_an_authority_that_is_still_to_be_made() -> None:
    assert [each.verdict for each in examine(AUTHORITY, None)] == ["ok"]


def info(name: str = "web1", **more: Any) -> InstanceInfo:
    sample: InstanceInfo = filled(InstanceInfo)[0]
    plain = {"shares_identity_with": (), "rollback": "", "certificates": "valid", "worker": None}
    return replace(sample, name=name, state="running", handover="ours", **(plain | more))


def worker(**more: Any) -> WorkerInfo:
    sample: WorkerInfo = filled(WorkerInfo)[0]
    well: dict[str, Any] = {"storage": "available", "tpm": "on", "version": "", "lockout": False}
    return replace(sample, **(well | more))


@pytest.mark.parametrize(
    ("check", "more", "verdict", "text"),
    [
        ("instances", {"state": "failed", "reason": "torn"}, "bad", "web1 has failed: torn"),
        ("instances", {"state": "locked", "reason": "no key"}, "bad", "web1 is locked: no key"),
        ("instances", {"handover": "away"}, "warning", "web1 is away"),
        ("storage of instances", {"worker": worker(storage="full")}, "bad", "stored: full"),
        ("storage of instances", {"worker": worker(tpm="failed")}, "bad", "failure mode"),
        ("rollback of instances", {"rollback": "older"}, "warning", "web1: older"),
        ("shared identities", {"shares_identity_with": ("a", "b")}, "warning", "a, b, web1 have"),
        ("EK certificates", {"certificates": "stale: key"}, "warning", "web1 are stale: key"),
        ("lockouts", {"worker": worker(lockout=True, failed_tries=3)}, "warning", "after 3 failed"),
        ("versions of workers", {"worker": worker(version="0.0.1")}, "warning", "vtpmd 0.0.1"),
    ],
)
def test_what_is_wrong_with_an_instance(
    check: str, more: dict[str, Any], verdict: str, text: str
) -> None:
    inventory = Inventory([replace(info(), **more), info("a", worker=worker(version=__version__))])
    findings = examine(instances.CHECKS, inventory)
    ((judged, reason),) = about(findings, check)
    assert (judged, text in reason) == (verdict, True)
    assert all(each.remedy for each in findings)


def test_instances_that_are_well_are_named_only_when_asked_for() -> None:
    assert examine(instances.CHECKS, Inventory([info(), info("a")])) == []
    (found,) = examine(instances.CHECKS, Inventory([info()]))
    assert (found.verdict, found.reason.startswith("web1 is running: ")) == ("ok", True)


@pytest.mark.parametrize(("days", "verdicts"), [(-1, ["bad"]), (29, ["warning"]), (31, [])])
def test_ek_certificates_that_end(days: int, verdicts: list[str]) -> None:
    inventory = Inventory([info(), info("a")], {"a": NOW + timedelta(days=days, minutes=1)})
    found = about(examine(instances.CHECKS, inventory), "EK certificates")
    assert [verdict for verdict, _ in found] == verdicts
    assert all("an EK certificate of a end" in reason for _, reason in found)


def test_those_who_share_an_identity_are_told_once() -> None:
    sharing = [
        info("a", shares_identity_with=("b",)),
        info("b", shares_identity_with=("a",)),
        info("c"),
    ]
    findings = examine(instances.CHECKS, Inventory(sharing))
    assert len(about(findings, "shared identities")) == 1

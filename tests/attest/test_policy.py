"""Policies: every rule, kept and broken; how they are written; and what is learnt."""

import hashlib
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.attest import made
from tests.attest.made import NONCE, SHA1, SHA256, SHA384, Machine
from tests.attest.test_quotes import GOOD, judged, known
from vtpmd.attest.errors import MalformedError
from vtpmd.attest.eventlog.log import parse_log
from vtpmd.attest.learning import facts_of_log, learn, measured_pcrs
from vtpmd.attest.pattern import Pattern
from vtpmd.attest.policy import Facts
from vtpmd.attest.policy_text import parse_policy
from vtpmd.attest.verdict import Status, Verdict
from vtpmd.attest.verify import Demands, Evidence
from vtpmd.config import document

HERE = Path(__file__).parent
APPS = [hashlib.sha256(image).hexdigest() for image in (b"shim", made.KERNEL)]
DB = hashlib.sha256(made.DB_CERTIFICATE).hexdigest()
PCR_7 = GOOD.values[SHA256][7].hex()
OTHER = "5e" * 32


def held(content: object, machine: Machine = GOOD, with_log: bool = True) -> Verdict:
    message, signature = machine.quote()
    given = Evidence(message, signature, machine.bare_values, machine.log if with_log else None)
    demands = Demands(NONCE, parse_policy(content), allow_sha1=True)
    return judged(given, known(machine), demands)


KEPT: list[tuple[dict[str, Any], str]] = [
    ({"pcrs": {7: [PCR_7]}}, "pcrs.7"),
    ({"pcrs": {"7": [OTHER, PCR_7.upper()]}}, "pcrs.7"),
    ({"secure_boot": {"enabled": True}}, "secure_boot.enabled"),
    ({"secure_boot": {"db_certs": [OTHER, DB]}}, "secure_boot.db_certs"),
    ({"secure_boot": {"dbx_contains": [made.DBX_HASH.hex()]}}, "secure_boot.dbx_contains"),
    ({"boot_apps": [OTHER, *APPS]}, "boot_apps"),
    ({"cmdline": "/vmlinuz root=/dev/[a-z]+ ro"}, "cmdline"),
    ({"firmware_version": ["edk2 0", "edk2 1"]}, "firmware_version"),
    ({"tpm_firmware_version": ["0x0", "0x2026010100000000"]}, "tpm_firmware_version"),
]
BROKEN: list[tuple[dict[str, Any], str]] = [
    ({"pcrs": {7: [OTHER]}}, "pcrs.7"),
    ({"pcrs": {10: [OTHER]}}, "pcrs.10"),
    ({"pcrs": {7: [OTHER[:40]]}}, "pcrs.7"),
    ({"secure_boot": {"enabled": False}}, "secure_boot.enabled"),
    ({"secure_boot": {"db_certs": [OTHER]}}, "secure_boot.db_certs"),
    ({"secure_boot": {"dbx_contains": [made.DBX_HASH.hex(), OTHER]}}, "secure_boot.dbx_contains"),
    ({"boot_apps": APPS[:1]}, "boot_apps"),
    ({"cmdline": "/vmlinuz root=/dev/vda"}, "cmdline"),
    ({"cmdline": "root=.*"}, "cmdline"),
    ({"firmware_version": ["edk2"]}, "firmware_version"),
    ({"tpm_firmware_version": ["0x1"]}, "tpm_firmware_version"),
]


@pytest.mark.parametrize(("content", "name"), KEPT, ids=lambda each: str(each)[:40])
def test_a_rule_that_is_kept(content: dict[str, Any], name: str) -> None:
    verdict = held(content)
    assert verdict.status is Status.GENUINE, verdict.decisive
    assert [(rule.name, rule.kept) for rule in verdict.rules] == [(name, True)]


@pytest.mark.parametrize(("content", "name"), BROKEN, ids=lambda each: str(each)[:40])
def test_a_rule_that_is_broken(content: dict[str, Any], name: str) -> None:
    verdict = held(content)
    assert verdict.status is Status.POLICY
    assert [(rule.name, rule.kept) for rule in verdict.rules] == [(name, False)]
    assert verdict.rules[0].detail


def test_every_rule_is_told_whether_it_is_kept_or_not() -> None:
    content: dict[str, Any] = {"secure_boot": {}, "pcrs": {}}
    for each, _ in (*BROKEN[:1], *BROKEN[4:6], *BROKEN[6:8], *KEPT[2:3], *KEPT[7:]):
        for name, value in each.items():
            content[name] = content[name] | value if isinstance(value, dict) else value
    rules = held(content).rules
    assert {rule.name: rule.kept for rule in rules} == {
        "pcrs.7": False,
        "tpm_firmware_version": True,
        "secure_boot.enabled": True,
        "secure_boot.db_certs": False,
        "secure_boot.dbx_contains": False,
        "boot_apps": False,
        "cmdline": False,
        "firmware_version": True,
    }


@pytest.mark.parametrize(("content", "name"), KEPT, ids=lambda each: str(each)[:40])
def test_what_is_not_proven_breaks_a_rule(content: dict[str, Any], name: str) -> None:
    """Without a log, and where the quote is of PCR 23 alone."""
    without = held(content, with_log=False)
    of_values = name.startswith("pcrs") or name == "tpm_firmware_version"
    assert without.rules[0].kept is of_values
    values = {SHA256: {23: bytes(32)}}
    message = made.quote(values)
    given = Evidence(message, made.signature(GOOD.private, message), None, GOOD.log)
    verdict = judged(given, demands=Demands(NONCE, parse_policy(content)))
    assert verdict.rules[0].kept is (name == "tpm_firmware_version")


def test_secure_boot_that_is_off_keeps_a_rule_that_wants_it_off() -> None:
    machine = Machine(made.boot(b"\0"))
    assert held({"secure_boot": {"enabled": False}}, machine).status is Status.GENUINE
    assert held({"secure_boot": {"enabled": True}}, machine).status is Status.POLICY


def test_values_may_be_of_any_bank_that_was_quoted() -> None:
    machine = Machine(algs=(SHA256, SHA384))
    for alg in machine.algs:
        content = {"pcrs": {7: [machine.values[alg][7].hex()]}}
        assert held(content, machine).status is Status.GENUINE


REFUSED: list[object] = [
    *(None, [], "x", 1, {}, {"version": 1}, {"version": 2, "pcrs": {}}),
    *({"pcrs": {}}, {"secure_boot": {}}, {"version": 1, "pcrs": {}, "secure_boot": {}}),
    *({"tee": {}}, {"pcr": {}}, {1: 2}, {"secure_boot": {"enable": True}}),
    *({"secure_boot": {"enabled": "yes"}}, {"secure_boot": []}, {"secure_boot": {"enabled": 1}}),
    *({"pcrs": {24: [OTHER]}}, {"pcrs": {-1: [OTHER]}}, {"pcrs": {"a": [OTHER]}}, {"pcrs": []}),
    *({"pcrs": {7: OTHER}}, {"pcrs": {7: []}}, {"pcrs": {7: [7]}}, {"pcrs": {7: ["zz"]}}),
    *({"pcrs": {7: ["00"]}}, {"pcrs": {7: [""]}}, {"pcrs": {True: [OTHER], "7\n": [OTHER]}}),
    *({"pcrs": {7: [OTHER], "07": [OTHER]}}, {"pcrs": {"7": [OTHER], 7: [OTHER]}}),
    *({"boot_apps": []}, {"boot_apps": {}}, {"boot_apps": ["5e"]}),
    *({"secure_boot": {"db_certs": ["5e" * 20]}}, {"secure_boot": {"db_certs": []}}),
    *({"cmdline": "("}, {"cmdline": ["x"]}, {"cmdline": 1}, {"cmdline": "a{1001}"}),
    *({"cmdline": "(?=a)b"}, {"cmdline": r"(a)\1"}, {"cmdline": "\udc80"}, {"cmdline": "(" * 1001}),
    *({"firmware_version": "x"}, {"firmware_version": []}, {"firmware_version": [1]}),
    *({"tpm_firmware_version": ["1"]}, {"tpm_firmware_version": ["0x"]}),
    {"tpm_firmware_version": ["0x" + "0" * 17]},
]


@pytest.mark.parametrize("content", REFUSED, ids=str)
def test_a_policy_that_is_not_understood_is_refused(content: object) -> None:
    with pytest.raises(MalformedError):
        parse_policy(content)


def facts(machine: Machine) -> Facts:
    verdict = held({"tpm_firmware_version": ["0x2026010100000000"]}, machine)
    assert verdict.quote is not None
    return Facts(verdict.values or {}, verdict.boot, verdict.quote.firmware_version)


CHANGES: dict[str, list[made.Event]] = {
    "another kernel": made.boot(kernel=b"another kernel"),
    "another command line": made.boot(line="/vmlinuz init=/bin/sh"),
    "Secure Boot off": made.boot(b"\0"),
    "one more application": [
        *made.boot(), made.Event(4, made.APPLICATION, b"", b"a shell"),
    ],
    "another firmware": [
        replace(event, data="edk2 2\0".encode("utf-16-le")) if event.type == made.CRTM_VERSION
        else event for event in made.boot()
    ],
}  # fmt: skip


@pytest.mark.parametrize("events", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("from_log", [False, True], ids=["quote", "log alone"])
@pytest.mark.parametrize("values", [False, True], ids=["facts", "values"])
def test_what_is_learnt_is_kept_by_this_machine_and_broken_by_others(
    events: list[made.Event], from_log: bool, values: bool
) -> None:
    log = parse_log(GOOD.log)
    found = facts_of_log(log) if from_log else facts(GOOD)
    content = learn(found, measured_pcrs(log) if values else ())
    written = document.write(content)
    read, _ = document.read(written.encode(), "policy")
    assert json.loads(json.dumps(content))  # it is JSON, too
    assert held(read).status is Status.GENUINE
    assert held(read, Machine(events)).status is Status.POLICY


def test_what_is_learnt_from_a_log_is_kept_by_quotes_of_each_bank() -> None:
    machine = Machine(algs=(SHA1, SHA256, SHA384))
    log = parse_log(machine.log)
    content = learn(facts_of_log(log), measured_pcrs(log))
    for alg in (SHA256, SHA384):
        assert held(content, Machine(algs=(alg,))).status is Status.GENUINE
    assert held(content, Machine(algs=(SHA1,))).status is Status.POLICY
    allowed = learn(facts_of_log(log, allow_sha1=True), measured_pcrs(log))
    assert held(allowed, Machine(algs=(SHA1,))).status is Status.GENUINE


def test_nothing_is_learnt_from_sha1_alone() -> None:
    log = parse_log(made.old_log(made.boot()))
    assert learn(facts_of_log(log), measured_pcrs(log)) == {"version": 1, "pcrs": {}}


def test_only_the_values_asked_for_are_learnt() -> None:
    assert set(learn(facts(GOOD), {0, 7, 23})["pcrs"]) == {0, 7}  # type: ignore[call-overload]


def test_a_command_line_is_learnt_as_it_is() -> None:
    line = "/vmlinuz a=(b|c)[d]{e}.*+?^$\\ -x"
    machine = Machine(made.boot(line=line))
    content = learn(facts(machine), ())
    assert held(content, machine).status is Status.GENUINE
    assert held(content, Machine(made.boot(line=line.replace(".", "x")))).status is Status.POLICY


def test_a_policy_as_it_is_written_down() -> None:
    """It rests on disks: what version 1 means is not changed."""
    octets = (HERE / "samples/policy-1.yaml").read_bytes()
    content, _ = document.read(octets, "policy")
    assert held(content).status is Status.GENUINE
    assert {name: True for rule in held(content).rules for name in [rule.name]} == dict.fromkeys(
        ("pcrs.7", "tpm_firmware_version", "secure_boot.enabled", "secure_boot.db_certs",
         "secure_boot.dbx_contains", "boot_apps", "cmdline", "firmware_version"), True,
    )  # fmt: skip


HOSTILE = ["a" * 4096, "x" * 4096, "a" * 2000 + "x" * 2000, " " * 4096, "é" * 4096, "\udc80"]


@pytest.mark.parametrize("expression", ["(a+)+b", "(a|aa)*(a|aa)*b", "(x*)*(x*)*y", r"(\S*\s*)*!"])
def test_an_expression_takes_no_longer_for_what_a_guest_has_chosen(expression: str) -> None:
    pattern = Pattern.parse(expression)
    begin = time.process_time()
    assert not any(map(pattern.matches, HOSTILE))
    assert time.process_time() - begin < 0.5

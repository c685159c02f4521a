"""What vtpmctl asks the daemon for: each option arrives as the field that it stands for."""

import base64
import json
from pathlib import Path
from typing import Any

import click
import pytest

from tests.api.samples import THIS_UUID
from tests.cli.calls import CALLS
from tests.cli.conftest import Ctl
from vtpmd.cli.vtpmctl import VERBS, main

UUID = str(THIS_UUID)
TIME = "2026-07-01T12:30:00Z"
CREATE, CLONE = ("create", "a"), ("clone", "a", "b")
PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
SET = ("set", "a", "--owner", "b")


@pytest.mark.parametrize(
    ("verb", "options", "sent"),
    [
        (CREATE, "", {"name": "a"}),
        (CREATE, f"--uuid {UUID}", {"name": "a", "uuid": UUID}),
        (CREATE, "--pcr-banks sha1,sha256", {"name": "a", "pcr_banks": ["sha1", "sha256"]}),
        (CREATE, "--profile fips-v1", {"name": "a", "profile": "fips-v1"}),
        (CREATE, "--provider p", {"name": "a", "provider": "p"}),
        (CREATE, "--data-socket", {"name": "a", "data_socket": True}),
        (CREATE, "--no-data-socket", {"name": "a", "data_socket": False}),
        (CREATE, "--start", {"name": "a"}),
        (CREATE, "--no-start", {"name": "a", "start": False}),
        (CREATE, "--owner alice:kvm", {"name": "a", "owner": "alice:kvm"}),
        (CREATE, "--mode 0600", {"name": "a", "mode": "0600"}),
        (SET, "", {"owner": "b"}),
        (SET, "--owner :kvm --mode 0666", {"owner": ":kvm", "mode": "0666"}),
        (SET, "--owner default --mode default", {"owner": "", "mode": ""}),
        (SET, "--owner=", {"owner": ""}),
        (SET, "--autostart --data-socket", {"owner": "b", "autostart": True, "data_socket": True}),
        (SET, "--no-autostart", {"owner": "b", "autostart": False}),
        (SET, "--no-data-socket", {"owner": "b", "data_socket": False}),
        (SET, "--label a=b=c --label d=", {"owner": "b", "labels": {"a": "b=c", "d": ""}}),
        (("rename", "a", "b"), "", {"name": "b"}),
        (CLONE, "--owner 107 --mode 0600", {"name": "b", "owner": "107", "mode": "0600"}),
        (CLONE, "", {"name": "b"}),
        (CLONE, f"--uuid {UUID}", {"name": "b", "uuid": UUID}),
        (CLONE, "--policy replace --yes", {"name": "b", "policy": "replace", "confirmed": True}),
        (CLONE, "--provider p", {"name": "b", "provider": "p"}),
        (CLONE, "--no-data-socket", {"name": "b", "data_socket": False}),
        (CLONE, "--no-start", {"name": "b", "start": False}),
        (("stop", "a"), "", {}),
        (("stop", "a"), "--temporary", {"remember": False}),
        (("stop", "a"), "--force", {"force": True}),
        (("rekey", "a"), "", {}),
        (("rekey", "a"), "--deep --to-provider p", {"deep": True, "provider": "p"}),
        (("rekey", "a"), f"--since {TIME}", {"since": TIME}),
        (("migrate", "a"), "", {}),
        (("migrate", "a"), "--done", {"step": "done"}),
        (("migrate", "a"), "--cancel", {"step": "cancel"}),
        (("unlock", "--all"), "", {}),
        (("ek", "csr", "a"), "", {}),
        (
            ("ek", "csr", "a"),
            "--kind rsa-2048 --kind ecc-p256",
            {"kinds": ["rsa-2048", "ecc-p256"]},
        ),
        (("ek", "csr", "a"), "--trust-now", {"trust_now": True}),
        (("ek", "renew", "a"), "--trust-now", {"trust_now": True}),
        (("snapshot", "create", "a"), "s", {"label": "s"}),
        (("snapshot", "restore", "a", "s"), "", {"snapshot": "s"}),
        (
            ("snapshot", "restore", "a", "s"),
            "--yes --start",
            {"snapshot": "s", "confirmed": True, "start": True},
        ),
        (("snapshot", "delete", "a", "s"), "", {"snapshot": "s"}),
        (("ca", "revoke", "a"), "", {"subject": "a"}),
        (("ca", "rekey"), "--to-provider hsm", {"provider": "hsm"}),
        (("ca", "revoke", "a"), "--reason superseded", {"subject": "a", "reason": "superseded"}),
    ],
)
def test_options_are_fields(
    ctl: Ctl, verb: tuple[str, ...], options: str, sent: dict[str, Any]
) -> None:
    result, asked = ctl([*verb, *options.split()], CALLS[verb])
    assert result.exit_code == 0 or verb[0] == "unlock"
    assert json.loads(asked[0].body) == sent


@pytest.mark.parametrize(
    ("options", "query"),
    [
        (f"--uuid {UUID} a", f"?name=a&uuid={UUID}"),
        ("--ticket BUNDLE", ""),
        ("--ticket BUNDLE a", "?name=a"),
        ("--ticket BUNDLE --data-socket", "?data_socket=true"),
        ("--ticket BUNDLE --no-data-socket", "?data_socket=false"),
        ("--ticket BUNDLE --owner alice --mode 0600", "?owner=alice&mode=0600"),
        ("--ticket BUNDLE --owner default", "?owner="),
        ("--ticket BUNDLE --no-start", "?start=false"),
    ],
)
def test_what_is_incoming_is_asked_for_in_the_query(
    ctl: Ctl, tmp_path: Path, options: str, query: str
) -> None:
    file = tmp_path / "ticket"
    file.write_bytes(b"ticket")
    words = options.replace("BUNDLE", str(file)).split()
    result, asked = ctl(["create", "--incoming", *words], CALLS["create", "a"])
    assert result.exit_code == 0
    assert asked[0].target == f"/v1/incoming{query}"
    assert asked[0].body == (b"ticket" if "BUNDLE" in options else b"")


@pytest.mark.parametrize(
    "arguments",
    [
        "create",
        "create --incoming a",
        f"create --incoming --uuid {UUID}",
        "create --ticket x a",
        "create --incoming --ticket x --profile fips-v1",
        "create --incoming --ticket x --pcr-banks sha1",
        "create --incoming --ticket x --provider p",
        "migrate a --ticket x --done",
        "migrate a --ticket x --cancel",
        "migrate-check a",
    ],
)
def test_what_makes_no_sense_together_is_not_asked_for(ctl: Ctl, arguments: str) -> None:
    result, asked = ctl(arguments.split(), [])
    assert (result.exit_code, asked) == (2, [])


def test_a_ticket_is_written_before_the_migration_is_declared(ctl: Ctl, tmp_path: Path) -> None:
    file = tmp_path / "ticket"
    call = ["migrate", "a", "--ticket"]
    answers = CALLS["migrate", "a", "--ticket", "OUT"]
    _, asked = ctl([*call, str(file)], answers)
    assert [each.target for each in asked] == [
        "/v1/instances/a/ticket",
        "/v1/instances/a/migrate",
    ]
    assert file.read_bytes() == b"ticket"
    assert file.stat().st_mode & 0o777 == 0o600
    result, asked = ctl([*call, str(file)])
    assert (result.exit_code, asked) == (13, [])


def test_a_migration_that_is_refused_leaves_no_ticket(ctl: Ctl, tmp_path: Path) -> None:
    file = tmp_path / "ticket"
    written, _ = CALLS["migrate", "a", "--ticket", "OUT"]
    refusal = {"code": "handed-over", "detail": "It is away."}
    call = ["migrate", "a", "--ticket", str(file)]
    result, asked = ctl(call, [written, refusal], statuses=[200, 409])
    assert len(asked) == 2
    assert result.exit_code not in (0, 13)
    assert not file.exists()


def test_one_provider_s_instances_are_unlocked(ctl: Ctl) -> None:
    _, asked = ctl(["unlock", "--provider", "p"], CALLS["unlock", "--all"])
    assert json.loads(asked[0].body) == {"provider": "p"}


@pytest.mark.parametrize(
    ("options", "query"),
    [
        ("", ""),
        ("--name b", "?name=b"),
        ("--replace --yes --start", "?replace=true&start=true&confirmed=true"),
        ("--owner +107:kvm --mode 0600", "?owner=%2B107:kvm&mode=0600"),
    ],
)
def test_the_options_of_restore_are_its_query(ctl: Ctl, options: str, query: str) -> None:
    _, asked = ctl(["restore", "BUNDLE", *options.split()], CALLS["restore", "BUNDLE"])
    assert (asked[0].target, asked[0].body) == (f"/v1/restore{query}", b"bundle")


def test_the_owner_of_what_is_made_from_a_template_is_sent(ctl: Ctl) -> None:
    arguments = ("import", "TEMPLATE", "a")
    _, asked = ctl([*arguments, "--owner", "alice", "--mode", "0600"], CALLS[arguments])
    sent = json.loads(asked[0].body)
    assert (sent["owner"], sent["mode"]) == ("alice", "0600")


def test_options_reach_each_of_several(ctl: Ctl) -> None:
    for verb, option, sent in (
        ("stop", "--temporary", {"remember": False}),
        ("rekey", "--deep", {"deep": True}),
    ):
        _, asked = ctl([verb, "--all", option], CALLS[verb, "--all"])
        assert asked[1].target == f"/v1/instances/{UUID}/{verb}"
        assert json.loads(asked[1].body) == sent


def test_only_the_instances_of_a_provider_are_rekeyed(ctl: Ctl) -> None:
    listed, rekeyed = CALLS["rekey", "--all"]
    (info,) = listed["instances"]
    listed = {"instances": [info | {"provider": "q"}, info | {"provider": "p"}]}
    result, asked = ctl(["rekey", "--provider", "p"], [listed, rekeyed])
    assert (result.exit_code, len(asked)) == (0, 2)


def test_keys_and_their_passphrase_are_sent_and_noted(ctl: Ctl) -> None:
    for verb in ("backup", "import"):
        file = {"backup": "OUT", "import": "BUNDLE"}[verb]
        arguments = ("provider", verb, "p", file, "--passphrase-fd", "FD")
        _, asked = ctl(arguments, CALLS[arguments])
        backup = {} if verb == "backup" else {"backup": base64.b64encode(b"bundle").decode()}
        assert json.loads(asked[0].body) == {"passphrase": "passphrase", **backup}
        if verb == "backup":
            assert asked[1].target == "/v1/providers/p/backup/done"
            assert json.loads(asked[1].body) == {"key_versions": ["some text", "some text"]}


def test_certificates_and_what_they_chain_to_are_sent(ctl: Ctl, tmp_path: Path) -> None:
    (tmp_path / "roots").write_bytes(b"roots")
    arguments = ("ek", "import", "a", "BUNDLE")
    _, asked = ctl([*arguments, "--ca", "ROOTS"], CALLS[arguments], ROOTS=tmp_path / "roots")
    assert json.loads(asked[0].body) == {
        "files": {str(tmp_path / "BUNDLE"): base64.b64encode(b"bundle").decode()},
        "roots": {str(tmp_path / "roots"): base64.b64encode(b"roots").decode()},
    }
    _, asked = ctl(["ca", "import", "BUNDLE"], CALLS["ca", "import", "BUNDLE"])
    sent = json.loads(asked[0].body)
    assert base64.b64decode(sent["chain"]) == b"bundle"


def test_requests_and_public_keys_go_into_files(ctl: Ctl, tmp_path: Path) -> None:
    made = {"requests": {"rsa-2048": "a request", "ecc-p256": "another"}}
    key = CALLS["ek", "show", "a"][0]["keys"][0]
    known = CALLS["ek", "show", "a"][0] | {
        "keys": [key | {"kind": "rsa-2048", "public_key": PEM}, key | {"kind": "ecc-p256"}]
    }
    result, _ = ctl(["ek", "csr", "a", "--out", str(tmp_path)], [made])
    assert result.exit_code == 0
    assert (tmp_path / "a-rsa-2048.csr").read_text() == "a request"
    assert (tmp_path / "a-ecc-p256.csr").read_text() == "another"
    again, _ = ctl(["ek", "csr", "a", "--out", str(tmp_path)], [made])
    assert again.exit_code == 13
    result, _ = ctl(["ek", "csr", "a", "--public", "--kind", "rsa-2048"], [known])
    assert result.output == PEM
    for kinds, report in ((["--kind", "ecc-p384"], known), ([], known | {"keys": []})):
        refused, _ = ctl(["ek", "csr", "a", "--public", *kinds], [report])
        assert refused.exit_code == 2
        assert "keys that are known" in refused.output


def test_which_certificates_are_printed(ctl: Ctl) -> None:
    info = CALLS["ca", "show"][0] | {"issuing": PEM, "root": "ROOT\n", "chain": PEM * 2}
    for option, text in (("", PEM), ("--issuing", PEM), ("--root", "ROOT\n"), ("--chain", PEM * 2)):
        assert ctl(["ca", "show", *option.split()], [info])[0].output == text
    found = CALLS["ek", "show", "a"][0]
    found = found | {"keys": [found["keys"][0] | {"certificate": PEM}], "chain": "CHAIN\n"}
    assert ctl(["ek", "show", "a", "--pem"], [found])[0].output == PEM + "CHAIN\n"


def options_of(command: click.Command) -> set[str]:
    context = click.Context(command)
    below = command.commands.values() if isinstance(command, click.Group) else ()
    found = {
        name
        for each in command.get_params(context)
        if isinstance(each, click.Option)
        for name in (*each.opts, *each.secondary_opts)
    }
    return found.union(*map(options_of, below))


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_is_named_by_a_test(verb: str) -> None:
    command = main.get_command(click.Context(main), verb)
    assert command is not None
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("*.py"))
    assert {name for name in options_of(command) - {"-h", "--help"} if name not in tests} == set()

"""New certificates by the own authority: for whom, and what stays as it is."""

import json
import tempfile
from pathlib import Path

from cryptography import x509

from tests.conformance.tools import reset
from tests.operations.certificates import (
    ELSEWHERE,
    KINDS,
    UNCONFIRMED,
    certificate,
    in_nv,
    keys,
    reconfigured,
    tools_for,
)
from tests.pki.foreign import public
from tests.supervisor.harness import Daemon, running


def test_renewed_while_it_runs_and_while_it_does_not(daemon: Daemon, tmp_path: Path) -> None:
    daemon.control("create", "web1")
    tools = tools_for(daemon, "web1", tmp_path)
    tools("createprimary -C o -c primary.ctx")
    tools("create -C primary.ctx -i- -u seal.pub -r seal.priv", given=b"secret")
    first = in_nv(tools)
    counter = tools.text("getcap properties-variable"), tools.text("pcrread")
    daemon.control("ek", "renew", "web1")
    second = in_nv(tools)
    assert (tools.text("getcap properties-variable"), tools.text("pcrread")) == counter
    daemon.control("stop", "web1")
    daemon.control("ek", "renew", "--all")
    daemon.control("start", "web1")
    third = in_nv(tools_for(daemon, "web1", tmp_path))
    assert first["chain"] == second["chain"] == third["chain"]
    for kind in KINDS:
        assert len({first[kind], second[kind], third[kind]}) == 3
        leaves = [x509.load_der_x509_certificate(each[kind]) for each in (first, second, third)]
        assert len({leaf.serial_number for leaf in leaves}) == 3
        assert len({public(leaf.public_key()) for leaf in leaves}) == 1
        assert leaves[2] == certificate(daemon.control("ek", "show", "web1"), kind)
    tools = tools_for(daemon, "web1", tmp_path)
    tools("createprimary -C o -c primary.ctx")
    tools("load -C primary.ctx -u seal.pub -r seal.priv -c seal.ctx")
    assert tools("unseal -c seal.ctx") == b"secret"
    assert len(daemon.control("ca", "list")["certificates"]) == 9


def test_a_guest_s_endorsement_seed_makes_them_stale(daemon: Daemon, tmp_path: Path) -> None:
    """The firmware may change it; new keys are certified only if an administrator trusts them."""
    daemon.control("create", "web1")
    instance = daemon.instance("web1")
    change = bytes.fromhex("80020000001b000001244000000c00000009400000090000000000")
    reset(instance, change)
    assert daemon.control("info", "web1")["certificates"].startswith("stale: the endorsement")
    refused = daemon.ctl("ek", "renew", "web1")
    assert (refused.returncode, "--trust-now" in refused.stderr) == (UNCONFIRMED, True)
    old = {each["key"] for each in daemon.control("ca", "list")["certificates"]}
    daemon.control("ek", "renew", "web1", "--trust-now")
    shown = daemon.control("ek", "show", "web1")
    assert (shown["certificates"], shown["known"]) == ("valid", "trusted")
    new = {each["key"] for each in daemon.control("ca", "list")["certificates"]} - old
    assert len(new) == 3
    tools = tools_for(daemon, "web1", tmp_path)
    assert x509.load_der_x509_certificate(in_nv(tools)["rsa-2048"]) == certificate(
        shown, "rsa-2048"
    )


def test_a_tpm_from_before_wants_trust(bare: Daemon) -> None:
    bare.control("create", "old")
    assert bare.control("info", "old")["certificates"] == "none"
    assert bare.control("ek", "show", "old")["keys"] == []
    assert not (bare.state / "ca").exists() or not list((bare.state / "ca").glob("authority"))
    assert bare.ctl("ek", "renew", "old").returncode == ELSEWHERE
    reconfigured(bare, "{ca: own}")
    assert bare.ctl("ek", "renew", "old").returncode == UNCONFIRMED
    assert bare.ctl("ek", "csr", "old").returncode == UNCONFIRMED
    bare.control("ek", "renew", "old", "--trust-now")
    assert bare.control("info", "old")["certificates"] == "valid"
    assert bare.control("ek", "show", "old")["known"] == "trusted"


def test_another_host_believes_what_certificates_prove(daemon: Daemon, tmp_path: Path) -> None:
    """Its own authority goes on only with keys that a root it trusts has certified."""
    daemon.control("create", "web1", "--no-start")
    bundle, root = tmp_path / "bundle", tmp_path / "root.pem"
    daemon.control("backup", "web1", str(bundle))
    root.write_text(daemon.text("ca", "show", "--root"))
    for roots, known in (("null", ""), (str(root), "restored")):
        with (
            tempfile.TemporaryDirectory(prefix="vtpmd-") as place,
            running(Path(place), f"identity: {{roots: {roots}}}") as other,
        ):
            keyring = (daemon.state / "keyring").read_bytes()
            other.end()
            (other.state / "keyring").write_bytes(keyring)
            (other.state / "keyring").chmod(0o600)
            other.start()
            info = other.control("restore", str(bundle), "--start")
            shown = other.control("ek", "show", "web1")
            assert shown["known"] == known
            status = other.ctl("ek", "renew", "web1").returncode
            assert status == (0 if known else UNCONFIRMED)
            if not known:
                told = other.control("info", "web1")["certificates"]
                assert told.startswith("stale: its keys are not in the ledger here")
            if known:
                assert other.control("info", "web1")["certificates"] == "valid"
                serials = [each["serial"] for each in other.control("ca", "list")["certificates"]]
                assert serials[:3] == [
                    key["serial"] for key in daemon.control("ek", "show", "web1")["keys"]
                ]
            assert info["state"] == "running"


def test_older_ones_in_nv_are_stale_until_renewed(daemon: Daemon, tmp_path: Path) -> None:
    """As after loadvm: what is in NV is not what was given out last."""
    uuid = daemon.control("create", "web1")["uuid"]
    files = daemon.state / "instances" / uuid
    older = (files / "ek.pem").read_bytes()
    daemon.control("ek", "renew", "web1")
    (files / "ek.pem").write_bytes(older)
    assert "stale: the TPM holds others" in daemon.control("info", "web1")["certificates"]
    assert keys(daemon.control("ek", "show", "web1"))["rsa-2048"]["state"] == "stale"
    daemon.control("ek", "renew", "web1")
    assert daemon.control("info", "web1")["certificates"] == "valid"


def test_it_is_audited(daemon: Daemon) -> None:
    daemon.control("create", "web1", "--no-start")
    daemon.control("ek", "renew", "web1")
    daemon.control("ca", "revoke", "web1")
    events = [json.loads(line) for line in daemon.log().splitlines() if line.startswith("{")]
    counted = [each.get("event") for each in events]
    assert counted.count("authority-made") == 1
    assert counted.count("certificate-issued") == 6
    assert counted.count("certificate-revoked") == 6

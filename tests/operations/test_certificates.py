"""Certificates of instances, by the own authority and by foreign ones, as others see them."""

import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from tests.conformance.tools import CLEAR_BY_PLATFORM, Tools, reset
from tests.pki.foreign import FAULTS, Authority, der, pem, public
from tests.pki.test_authority import openssl
from tests.supervisor.harness import Daemon, running

KINDS = ("rsa-2048", "ecc-p256", "ecc-p384")
INDICES = {"rsa-2048": "0x1c00002", "ecc-p256": "0x1c0000a", "ecc-p384": "0x1c00016"}
CHAIN = "0x1c00100"
REFUSED, UNREADABLE, UNCONFIRMED, ELSEWHERE = 12, 13, 11, 10
SOCKETS = "sockets: {data_socket: true}\n"


def keys(info: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The EKs in the report of `ek show`, by kind."""
    return {key["kind"]: key for key in info["keys"]}


def certificate(info: dict[str, Any], kind: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(keys(info)[kind]["certificate"].encode())


def in_nv(tools: Tools) -> dict[str, bytes]:
    """What tpm2_nvread finds, by kind."""
    found = {}
    for kind, index in {**INDICES, "chain": CHAIN}.items():
        if index.lower() in tools.text("getcap handles-nv-index").lower():
            found[kind] = tools(f"nvread {index} -C o")
    return found


def tools_for(daemon: Daemon, name: str, directory: Path) -> Tools:
    return Tools(daemon.instance(name), directory)


@pytest.fixture
def external(root: Path) -> Iterator[Daemon]:
    """A daemon that leaves certificates to somebody else."""
    with running(root, f"{SOCKETS}identity: {{ca: external}}") as daemon:
        yield daemon


@pytest.fixture
def bare(root: Path) -> Iterator[Daemon]:
    """A daemon that knows nothing of certificates."""
    with running(root, f"{SOCKETS}identity: {{ca: none}}") as daemon:
        yield daemon


def reconfigured(daemon: Daemon, identity: str) -> None:
    daemon.end()
    text = daemon.configuration.read_text()
    kept = [line for line in text.splitlines() if not line.startswith("identity:")]
    daemon.configuration.write_text("\n".join([*kept, f"identity: {identity}", ""]))
    daemon.start()


def test_other_programs_accept_them(daemon: Daemon, tmp_path: Path) -> None:
    """tpm2-tools read the same octets that OpenSSL verifies."""
    info = daemon.control("create", "web1")
    assert daemon.control("info", "web1")["certificates"] == "valid"
    tools = tools_for(daemon, "web1", tmp_path)
    tools("getekcertificate -X -o rsa.der -o ecc.der")
    found = in_nv(tools)
    assert (tmp_path / "rsa.der").read_bytes() == found["rsa-2048"]
    assert (tmp_path / "ecc.der").read_bytes() in (found["ecc-p256"], found["ecc-p384"])
    for part in ("root", "issuing"):
        (tmp_path / f"{part}.pem").write_text(daemon.text("ca", "show", f"--{part}"))
    issuing = x509.load_pem_x509_certificate((tmp_path / "issuing.pem").read_bytes())
    assert found["chain"] == der(issuing)
    shown = daemon.control("ek", "show", "web1")
    for kind in KINDS:
        (tmp_path / "ek.der").write_bytes(found[kind])
        verified = openssl(
            "verify", "-x509_strict", "-CAfile", tmp_path / "root.pem",
            "-untrusted", tmp_path / "issuing.pem", tmp_path / "ek.der",
        )  # fmt: skip
        assert verified.returncode == 0, verified.stderr
        leaf = x509.load_der_x509_certificate(found[kind])
        assert leaf == certificate(shown, kind)
        assert [name.value for name in leaf.subject] == [info["uuid"]]
    assert [keys(shown)[kind]["state"] for kind in KINDS] == ["valid"] * 3
    assert pem(issuing).decode() in daemon.text("ek", "show", "web1", "--pem")


@pytest.mark.parametrize(("alg", "kind"), [("rsa", "rsa-2048"), ("ecc", "ecc-p256")])
def test_the_certified_key_is_the_ek_of_a_guest(
    daemon: Daemon, tmp_path: Path, alg: str, kind: str
) -> None:
    daemon.control("create", "web1")
    tools = tools_for(daemon, "web1", tmp_path)
    tools(f"createek -c ek.ctx -G {alg} -u ek.pem -f pem")
    text = keys(daemon.control("ek", "show", "web1"))[kind]["public_key"]
    assert (tmp_path / "ek.pem").read_text() == text
    assert daemon.text("ek", "csr", "web1", "--public", "--kind", kind) == text


def test_nothing_that_a_guest_does_reaches_them(daemon: Daemon, tmp_path: Path) -> None:
    daemon.control("create", "web1")
    tools = tools_for(daemon, "web1", tmp_path)
    before = in_nv(tools)
    reset(daemon.instance("web1"), CLEAR_BY_PLATFORM)
    tools("clear -c l")
    for index in INDICES.values():
        tools.refused(0x149, f"nvundefine {index} -C o")
        tools.refused(0x148, f"nvwrite {index} -C p -i -", given=b"x")
    assert in_nv(tools) == before
    assert daemon.control("info", "web1")["certificates"] == "valid"


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


def test_clones(daemon: Daemon) -> None:
    """A copy keeps them; a replacement has its own."""
    daemon.control("create", "a")
    daemon.control("clone", "a", "copy", "--policy", "copy")
    daemon.control("clone", "a", "new", "--policy", "replace")
    shown = {name: daemon.control("ek", "show", name) for name in ("a", "copy", "new")}
    assert {each["certificates"] for each in shown.values()} == {"valid"}
    for kind in KINDS:
        assert certificate(shown["a"], kind) == certificate(shown["copy"], kind)
        assert (
            certificate(shown["new"], kind).public_key()
            != certificate(shown["a"], kind).public_key()
        )
    assert shown["copy"]["identity"] == shown["a"]["identity"] != shown["new"]["identity"]
    daemon.control("ek", "renew", "copy")  # of the identity, whose name is in it
    renewed = certificate(daemon.control("ek", "show", "copy"), "rsa-2048")
    assert [name.value for name in renewed.subject] == [shown["a"]["uuid"]]
    assert daemon.control("info", "a")["certificates"] == "valid"


def test_backup_and_restore_carry_them(daemon: Daemon, tmp_path: Path) -> None:
    daemon.control("create", "web1")
    daemon.control("backup", "web1", str(tmp_path / "bundle"))
    before = daemon.control("ek", "show", "web1")
    daemon.control("ek", "renew", "web1")
    daemon.control("stop", "web1")
    daemon.control("restore", str(tmp_path / "bundle"), "--replace", "--start")
    assert daemon.control("ek", "show", "web1") == before
    daemon.control("ek", "renew", "web1")
    assert daemon.control("info", "web1")["certificates"] == "valid"


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


def test_what_a_crash_left_is_settled_by_what_is_in_nv(daemon: Daemon) -> None:
    uuid = daemon.control("create", "web1")["uuid"]
    files = daemon.state / "instances" / uuid
    older = (files / "ek.pem").read_bytes()
    daemon.control("ek", "renew", "web1")
    newer = (files / "ek.pem").read_bytes()
    for present, following in ((older, newer), (newer, older)):
        (files / "ek.pem").write_bytes(present)
        (files / "ek-next.pem").write_bytes(following)
        (files / "ek-next.pem").chmod(0o600)
        assert daemon.control("info", "web1")["certificates"] == "valid"
        assert (files / "ek.pem").read_bytes() == newer
        assert not (files / "ek-next.pem").exists()


def signed(directory: Path, daemon: Daemon, name: str, *more: str) -> list[Path]:
    """Certificates that `openssl x509 -req` makes of the requests of an instance."""
    made = openssl(
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=their root", "-keyout",
        directory / "root.key", "-out", directory / "root.pem", "-addext",
        "keyUsage=critical,keyCertSign,cRLSign",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    daemon.control("ek", "csr", name, "--out", str(directory))
    paths = []
    for kind in KINDS:
        request = directory / f"{name}-{kind}.csr"
        assert openssl("req", "-in", request, "-verify", "-noout").returncode == 0
        path = directory / f"{name}-{kind}.pem"
        done = openssl(
            "x509", "-req", "-in", request, "-CA", directory / "root.pem", "-CAkey",
            directory / "root.key", "-copy_extensions", "copy", "-days", "30", "-out", path, *more,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        paths.append(path)
    return paths


def test_a_foreign_authority_and_back(external: Daemon, tmp_path: Path) -> None:
    external.control("create", "web1")
    assert external.control("info", "web1")["certificates"] == "none"
    assert not (external.state / "ca" / "authority").exists()
    tools = tools_for(external, "web1", tmp_path)
    tools("createprimary -C o -c primary.ctx")
    tools("create -C primary.ctx -i- -u seal.pub -r seal.priv", given=b"secret")
    paths = signed(tmp_path, external, "web1")
    first, *others = (str(path) for path in paths)
    root = str(tmp_path / "root.pem")
    external.control("ek", "import", "web1", first, root)
    external.control("ek", "import", "web1", *others, "--ca", root)
    reset(external.instance("web1"))
    for kind, path in zip(KINDS, paths, strict=True):
        leaf = x509.load_pem_x509_certificate(path.read_bytes())
        assert in_nv(tools)[kind] == der(leaf)
    assert "chain" not in in_nv(tools)  # it has a self-signed one only
    shown = external.control("ek", "show", "web1")
    assert {key["source"] for key in shown["keys"]} == {"foreign"}
    tools("createprimary -C o -c primary.ctx")
    tools("load -C primary.ctx -u seal.pub -r seal.priv -c seal.ctx")
    assert tools("unseal -c seal.ctx") == b"secret"
    assert external.ctl("ek", "renew", "web1").returncode == ELSEWHERE
    reconfigured(external, "{ca: own}")
    external.control("ek", "renew", "web1")
    shown = external.control("ek", "show", "web1")
    assert {key["source"] for key in shown["keys"]} == {"own"}
    assert shown["certificates"] == "valid"


def files_of(daemon: Daemon, name: str) -> dict[str, bytes]:
    """Everything that a refused import must leave alone."""
    uuid = daemon.control("info", name)["uuid"]
    directory = daemon.state / "instances" / uuid
    paths = [*directory.glob("*.pem"), directory / "tpm/nvram", daemon.state / "ca/ledger"]
    return {str(path): path.read_bytes() for path in paths}


def test_every_refusal_changes_nothing(external: Daemon, tmp_path: Path) -> None:
    external.control("create", "web1", "--no-start")
    external.control("create", "other", "--no-start")
    authority = Authority("their root")
    (tmp_path / "root.pem").write_bytes(pem(authority.certificate))
    good, bad = tmp_path / "good.der", tmp_path / "bad.der"
    theirs: dict[str, Any] = {
        key["kind"]: load_pem_public_key(key["public_key"].encode())
        for key in external.control("ek", "show", "web1")["keys"]
    }
    good.write_bytes(der(authority.certify(theirs["ecc-p256"])))
    root = str(tmp_path / "root.pem")
    before = files_of(external, "web1")

    def refusal(reason: str, *files: Path | str, status: int = REFUSED) -> None:
        done = external.ctl("ek", "import", "web1", *map(str, files))
        assert (done.returncode, reason in done.stderr) == (status, True), done.stderr
        assert files_of(external, "web1") == before

    for make, reason in FAULTS.values():
        bad.write_bytes(der(make(authority, theirs["rsa-2048"])))
        refusal(f"{bad}: ", good, bad, root)
        refusal(reason, good, bad, root)
    strange = external.control("ek", "show", "other")["keys"]
    bad.write_bytes(der(authority.certify(load_pem_public_key(strange[0]["public_key"].encode()))))
    refusal("no EK of this TPM", good, bad, root)
    bad.write_bytes(der(authority.certify(theirs["ecc-p256"])))
    refusal("second certificate", good, bad, root)
    refusal("issuer did not come with it", good)
    (tmp_path / "another.pem").write_bytes(pem(Authority("another").certificate))
    refusal("does not chain to any", good, root, "--ca", tmp_path / "another.pem")
    bad.write_bytes(b"nonsense")
    refusal("no certificate, in PEM or DER", good, bad, root)
    refusal("No such file", good, tmp_path / "missing", status=UNREADABLE)
    external.control("ek", "import", "web1", str(good), root)


def test_configured_roots_are_the_only_ones(external: Daemon, tmp_path: Path) -> None:
    external.control("create", "web1", "--no-start")
    paths = [str(path) for path in signed(tmp_path, external, "web1")]
    (tmp_path / "trusted.pem").write_bytes(pem(Authority("another").certificate))
    reconfigured(external, f"{{ca: external, roots: {tmp_path}/trusted.pem}}")
    root = str(tmp_path / "root.pem")
    assert external.ctl("ek", "import", "web1", *paths, root).returncode == REFUSED
    reconfigured(external, f"{{ca: external, roots: {root}}}")
    external.control("ek", "import", "web1", *paths)


def test_an_owners_index_in_the_way(external: Daemon, tmp_path: Path) -> None:
    external.control("create", "web1")
    tools = tools_for(external, "web1", tmp_path)
    tools("nvdefine 0x1c00002 -C o -s 8")
    paths = [str(path) for path in signed(tmp_path, external, "web1")]
    done = external.ctl("ek", "import", "web1", *paths, str(tmp_path / "root.pem"))
    assert (done.returncode, "0x01C00002" in done.stderr) == (REFUSED, True)
    assert external.control("info", "web1")["certificates"] == "none"
    tools("nvundefine 0x1c00002 -C o")
    external.control("ek", "import", "web1", *paths, str(tmp_path / "root.pem"))


def test_revoked_and_told(daemon: Daemon, tmp_path: Path) -> None:
    daemon.control("create", "web1", "--no-start")
    daemon.control("create", "web2", "--no-start")
    listed = daemon.control("ca", "list")["certificates"]
    serial = next(each["serial"] for each in listed if each["kind"] == "ecc-p384")
    assert daemon.control("ca", "revoke", serial, "--reason", "superseded")["revoked"] == [serial]
    assert len(daemon.control("ca", "revoke", "web2")["revoked"]) == 3
    assert daemon.control("ca", "revoke", "web2")["revoked"] == []
    assert daemon.ctl("ca", "revoke", "nobody").returncode == 5
    assert daemon.ctl("ca", "revoke", "web1", "--reason", "whim").returncode == 2
    shown = keys(daemon.control("ek", "show", "web1"))
    assert [shown[kind]["state"] for kind in KINDS] == ["valid", "valid", "revoked"]
    daemon.control("ca", "crl", str(tmp_path / "crl"))
    (tmp_path / "root.pem").write_text(daemon.text("ca", "show", "--root"))
    (tmp_path / "issuing.pem").write_text(daemon.text("ca", "show", "--issuing"))
    for kind in KINDS:
        (tmp_path / "ek.pem").write_text(shown[kind]["certificate"])
        verified = openssl(
            "verify", "-crl_check", "-CAfile", tmp_path / "root.pem", "-untrusted",
            tmp_path / "issuing.pem", "-CRLfile", tmp_path / "crl", tmp_path / "ek.pem",
        )  # fmt: skip
        assert (verified.returncode == 0) is (kind != "ecc-p384")
    daemon.restart()
    assert sum(bool(each["revoked"]) for each in daemon.control("ca", "list")["certificates"]) == 4


def test_below_an_authority_of_ones_own(daemon: Daemon, tmp_path: Path) -> None:
    daemon.control("create", "web1", "--no-start")
    assert daemon.ctl("ca", "import", __file__).returncode == REFUSED  # nothing was requested
    daemon.control("ca", "csr", str(tmp_path / "ca.csr"))
    daemon.control("ca", "csr", str(tmp_path / "again.csr"))
    subjects = [
        x509.load_pem_x509_csr((tmp_path / name).read_bytes()).public_key()
        for name in ("ca.csr", "again.csr")
    ]
    assert subjects[0] == subjects[1]  # whoever asks twice may take the answer to either
    made = openssl(
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384", "-nodes", "-subj",
        "/CN=company", "-keyout", tmp_path / "root.key", "-out", tmp_path / "root.pem", "-addext",
        "keyUsage=critical,keyCertSign,cRLSign",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    done = openssl(
        "x509", "-req", "-in", tmp_path / "ca.csr", "-CA", tmp_path / "root.pem", "-CAkey",
        tmp_path / "root.key", "-copy_extensions", "copy", "-days", "30", "-out",
        tmp_path / "issuing.pem",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    old = daemon.control("ca", "show")
    issuing = (tmp_path / "issuing.pem").read_text()
    (tmp_path / "alone.pem").write_text(issuing)
    assert daemon.ctl("ca", "import", str(tmp_path / "alone.pem")).returncode == REFUSED
    (tmp_path / "chain.pem").write_text((tmp_path / "root.pem").read_text() + issuing)
    new = daemon.control("ca", "import", str(tmp_path / "chain.pem"))
    assert new["issuing"] != old["issuing"]
    assert x509.load_pem_x509_certificate(new["root"].encode()) == x509.load_pem_x509_certificate(
        (tmp_path / "root.pem").read_bytes()
    )
    daemon.restart()
    daemon.control("ek", "renew", "web1")
    (tmp_path / "ek.pem").write_text(
        keys(daemon.control("ek", "show", "web1"))["ecc-p384"]["certificate"]
    )
    verified = openssl(
        "verify", "-CAfile", tmp_path / "root.pem", "-untrusted", tmp_path / "issuing.pem",
        tmp_path / "ek.pem",
    )  # fmt: skip
    assert verified.returncode == 0, verified.stderr
    daemon.control("ca", "crl", str(tmp_path / "crl"))
    assert (tmp_path / "crl").read_text().count("BEGIN X509 CRL") == 2


def test_without_its_key_no_certificate_and_no_instance(daemon: Daemon) -> None:
    daemon.control("create", "web1", "--no-start")
    (daemon.state / "keyring").rename(daemon.directory / "elsewhere")
    assert daemon.ctl("create", "web2").returncode == 8
    assert daemon.ctl("ek", "renew", "web1").returncode == 8
    assert daemon.ctl("ca", "crl", str(daemon.directory / "crl")).returncode == 8
    assert daemon.ctl("ca", "show").returncode == 0
    (daemon.directory / "elsewhere").rename(daemon.state / "keyring")
    assert [info["name"] for info in daemon.control("list")["instances"]] == ["web1"]
    assert len(list((daemon.state / "instances").iterdir())) == 1
    assert daemon.control("info", "web1")["certificates"] == "valid"


def test_a_damaged_ledger_is_told_and_left_alone(daemon: Daemon) -> None:
    daemon.control("create", "web1", "--no-start")
    ledger = daemon.state / "ca" / "ledger"
    content = b"nonsense\n" + ledger.read_bytes()
    daemon.end()
    ledger.write_bytes(content)
    daemon.start()
    refused = daemon.ctl("create", "web2")
    assert (refused.returncode, "ledger, line 1" in refused.stderr) == (10, True)
    assert "ledger, line 1" in daemon.control("info", "web1")["certificates"]
    daemon.control("start", "web1")
    assert ledger.read_bytes() == content
    assert len(list((daemon.state / "instances").iterdir())) == 1


def test_what_is_configured_is_in_them(root: Path) -> None:
    identity = (
        "{keys: [ecc-p256], subject: empty, lifetime: 30, "
        "ca_issuers_url: 'http://pki/ek.cer', crl_url: 'http://pki/ek.crl'}"
    )
    with running(root, f"identity: {identity}") as daemon:
        daemon.control("create", "web1", "--no-start")
        shown = daemon.control("ek", "show", "web1")
        assert list(keys(shown)) == ["ecc-p256"]
        leaf = certificate(shown, "ecc-p256")
        assert list(leaf.subject) == []
        assert (leaf.not_valid_after_utc - leaf.not_valid_before_utc).days == 30
        text = subprocess.run(
            ["openssl", "x509", "-noout", "-text"], input=pem(leaf), capture_output=True, check=True
        ).stdout.decode()
        assert "CA Issuers - URI:http://pki/ek.cer" in text
        assert "URI:http://pki/ek.crl" in text
        assert "X509v3 Subject Alternative Name: critical" in text


def test_it_is_audited(daemon: Daemon) -> None:
    daemon.control("create", "web1", "--no-start")
    daemon.control("ek", "renew", "web1")
    daemon.control("ca", "revoke", "web1")
    events = [json.loads(line) for line in daemon.log().splitlines() if line.startswith("{")]
    counted = [each.get("event") for each in events]
    assert counted.count("authority-made") == 1
    assert counted.count("certificate-issued") == 6
    assert counted.count("certificate-revoked") == 6

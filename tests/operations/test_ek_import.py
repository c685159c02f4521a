"""Certificates of a foreign authority: accepted, or refused as a whole."""

from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from tests.conformance.tools import reset
from tests.operations.certificates import (
    ELSEWHERE,
    KINDS,
    REFUSED,
    UNREADABLE,
    in_nv,
    reconfigured,
    signed,
    tools_for,
)
from tests.pki.foreign import FAULTS, Authority, der, pem
from tests.supervisor.harness import Daemon


def files_of(daemon: Daemon, name: str) -> dict[str, bytes]:
    """Everything that a refused import must leave alone."""
    uuid = daemon.control("info", name)["uuid"]
    directory = daemon.state / "instances" / uuid
    paths = [*directory.glob("*.pem"), directory / "tpm/nvram", daemon.state / "ca/ledger"]
    return {str(path): path.read_bytes() for path in paths}


def listed(daemon: Daemon) -> list[dict[str, Any]]:
    """What `ca list` says of each certificate."""
    found: list[dict[str, Any]] = daemon.control("ca", "list")["certificates"]
    return found


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
    assert [each["refused"] for each in listed(external)] == [True] * 3
    external.restart()
    assert [each["refused"] for each in listed(external)] == [True] * 3
    assert external.text("ca", "list").count("refused by the TPM") == 3
    tools("nvundefine 0x1c00002 -C o")
    external.control("ek", "import", "web1", *paths, str(tmp_path / "root.pem"))
    assert not any(each["refused"] for each in listed(external))

"""Requests for certificates, as OpenSSL reads them, and whose they are."""

from pathlib import Path

import pytest
from cryptography import x509

from tests.operations.certificates import KINDS, keys
from tests.supervisor.harness import Daemon


@pytest.mark.parametrize("served", [True, False])
def test_each_is_signed_by_the_key_it_is_for(daemon: Daemon, tmp_path: Path, served: bool) -> None:
    info = daemon.control("create", "web1", *([] if served else ["--no-start"]))
    daemon.control("ek", "csr", "web1", "--out", str(tmp_path))
    known = keys(daemon.control("ek", "show", "web1"))
    for kind in KINDS:
        request = x509.load_pem_x509_csr((tmp_path / f"web1-{kind}.csr").read_bytes())
        certified = x509.load_pem_x509_certificate(known[kind]["certificate"].encode())
        assert request.is_signature_valid
        assert request.public_key() == certified.public_key()
        assert [name.value for name in request.subject] == [info["uuid"]]
        asked = {each.oid: each for each in request.extensions}
        given = {each.oid: each for each in certified.extensions}
        assert {oid: given[oid] for oid in asked} == asked  # the own authority gives the same


def test_only_keys_that_there_are(daemon: Daemon) -> None:
    daemon.control("create", "web1", "--no-start", "--profile", "default-v1 without NIST_P384")
    assert set(daemon.control("ek", "csr", "web1")["requests"]) == {"rsa-2048", "ecc-p256"}
    refused = daemon.ctl("ek", "csr", "web1", "--kind", "ecc-p384")
    assert (refused.returncode, "no ecc-p384 key" in refused.stderr) == (2, True)
    assert daemon.ctl("ek", "csr", "web1", "--kind", "ecc-p521").returncode == 2

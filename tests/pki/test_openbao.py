"""A real OpenBao signs the requests of an engine, and what it signs is accepted."""

import os
from collections.abc import Iterator

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.kms.certificates import Authority
from tests.kms.vault.bao import Bao
from tests.pki.foreign import REPORTED
from tests.tpm.harness import HostClock
from vtpmd.pki.acceptance import Tpm, accept
from vtpmd.tpm.engine import Engine

KINDS = ("rsa-2048", "ecc-p256", "ecc-p384")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bao]:
    found = Bao(tmp_path_factory.mktemp("bao"), Authority(tmp_path_factory.mktemp("ca")))
    yield found
    found.stop()


def test_its_pki_engine_signs_requests_verbatim(server: Bao) -> None:
    server.ask("POST", "sys/mounts/pki", {"type": "pki"})
    server.ask("POST", "pki/root/generate/internal", {"common_name": "their root", "ttl": "87600h"})
    engine = Engine.manufacture("default-v1", ["sha256"], os.urandom, HostClock())
    keys = engine.endorsement_keys(KINDS)
    files = {}
    for kind in KINDS:
        request = x509.load_der_x509_csr(engine.certificate_request(kind, "web1"))
        text = request.public_bytes(Encoding.PEM).decode()
        signed = server.ask("POST", "pki/sign-verbatim", {"csr": text, "ttl": "72h"})["data"]
        files[kind] = signed["certificate"].encode()
        files["chain"] = signed["issuing_ca"].encode()
    tpm = Tpm({kind: key.public_key for kind, key in keys.items()}, REPORTED)
    accepted = accept(tpm, files, {})
    assert list(accepted.leaves) == sorted(KINDS)

"""Chains of certificates: which are believed, and for which keys."""

from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from tests.attest import authority, made
from tests.attest.authority import AK_PURPOSE, EK_PURPOSE, NOW, Public
from tests.attest.made import NONCE, Machine
from vtpmd.attest.certificates import certified_key, parse_certificates
from vtpmd.attest.errors import CertificateError, MalformedError
from vtpmd.attest.keys import EccPublicKey
from vtpmd.attest.trust import AttestationKey
from vtpmd.attest.verdict import Status, Verdict
from vtpmd.attest.verify import Demands, Evidence, verify_quote
from vtpmd.tpm.crypto.rsa import RsaPublicKey

ROOT = authority.root()
ISSUING = authority.issuing(ROOT)
KINDS = ("rsa", "p256", "p384")


def public(kind: str = "rsa") -> Public:
    return made.key(kind).public_key()


def believed(octets: bytes, roots: bytes = ROOT.pem, days: int = 0) -> Any:
    chain, trusted = parse_certificates(octets), parse_certificates(roots)
    return certified_key(chain, trusted, EK_PURPOSE, NOW + timedelta(days=days))


@pytest.mark.parametrize("subject", ["", "web1"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_certified_ek(kind: str, subject: str) -> None:
    key = believed(authority.leaf(ROOT, public(kind), subject=subject))
    numbers: Any = public(kind).public_numbers()
    if kind == "rsa":
        assert isinstance(key, RsaPublicKey)
        assert (key.n, key.e) == (numbers.n, numbers.e)
    else:
        assert isinstance(key, EccPublicKey)
        assert key.point == (numbers.x, numbers.y)


def test_issuers_come_with_the_certificate_or_are_trusted() -> None:
    leaf = authority.leaf(ISSUING, public())
    issuer = ISSUING.certificate.public_bytes(Encoding.DER)
    believed(authority.in_pem(leaf, issuer))
    believed(leaf, ISSUING.pem)
    believed(leaf, ISSUING.pem + ROOT.pem)
    with pytest.raises(CertificateError):
        believed(leaf)


def test_octets_behind_a_certificate_in_nv_do_not_matter() -> None:
    believed(authority.leaf(ROOT, public()) + b"\xff" * 100)


@pytest.mark.parametrize("is_ca", [False, None])
@pytest.mark.parametrize("usage", ["", None])
def test_what_may_be_absent(is_ca: bool | None, usage: str | None) -> None:
    believed(authority.leaf(ROOT, public(), is_ca=is_ca, usage=usage))


@pytest.mark.parametrize(
    ("leaf", "text"),
    [
        ({"purpose": None}, "not for 2.23.133.8.1"),
        ({"purpose": AK_PURPOSE}, "not for 2.23.133.8.1"),
        ({"is_ca": True}, "a CA's"),
        ({"usage": "crl_sign"}, "key usage"),
        ({"usage": "digital_signature"}, "key usage"),
        ({"begin": NOW + timedelta(hours=1)}, "not believed"),
        ({"end": NOW - timedelta(hours=1)}, "not believed"),
    ],
)
def test_a_certificate_that_is_not_believed(leaf: dict[str, Any], text: str) -> None:
    with pytest.raises(CertificateError, match=text):
        believed(authority.leaf(ROOT, public(), **leaf))


def test_time_passes() -> None:
    leaf = authority.leaf(ROOT, public(), end=NOW + timedelta(days=400))
    with pytest.raises(CertificateError):
        believed(leaf, days=2)  # the root's time is over


@pytest.mark.parametrize(
    "by",
    [
        authority.root("root", True, False),
        authority.root("root", False),
        authority.issuing(ROOT, True, False),
        authority.issuing(ROOT, False),
        authority.root("other"),
        authority.issuing(ISSUING),
    ],
)
def test_an_issuer_that_may_not_issue(by: authority.Authority) -> None:
    """Another root of the same name; a CA that may not; none; one below a CA that may have none."""
    leaf = authority.leaf(by, public())
    chain = authority.in_pem(
        leaf, *(each.certificate.public_bytes(Encoding.DER) for each in (by, ISSUING))
    )
    with pytest.raises(CertificateError):
        believed(chain)


@pytest.mark.parametrize(
    "trusted", [authority.root("root", True, False), authority.root("a", False)]
)
def test_a_root_that_may_not_issue(trusted: authority.Authority) -> None:
    with pytest.raises(CertificateError):
        believed(authority.leaf(trusted, public()), trusted.pem)


def test_a_changed_certificate() -> None:
    leaf = authority.leaf(ROOT, public("p256"))
    refused = 0
    for at in range(0, len(leaf), 7):
        changed = leaf[:at] + bytes([leaf[at] ^ 1]) + leaf[at + 1 :]
        with pytest.raises((CertificateError, MalformedError)):
            believed(changed)
        refused += 1
    assert refused > 50


@pytest.mark.parametrize(
    "key", [rsa.generate_private_key(65537, 1024), ec.generate_private_key(ec.SECP256K1())]
)
def test_keys_that_are_too_weak_or_unknown(key: Any) -> None:
    with pytest.raises((CertificateError, MalformedError)):
        believed(authority.leaf(ROOT, key.public_key()))


@pytest.mark.parametrize(
    "octets",
    [
        *(b"", b"0", b"\x30\x82\xff\xff", b"-----BEGIN CERTIFICATE-----\nx", bytes(100)),
        *(b"\x30" * 70_000, ROOT.pem * 17),
    ],
    ids=len,
)
def test_what_is_no_certificate(octets: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_certificates(octets)


def judged(certificate: bytes, roots: bytes | None) -> Verdict:
    machine = Machine()
    message, signature = machine.quote()
    ak = AttestationKey.read(certificate, roots)
    given = Evidence(message, signature, machine.bare_values)
    return verify_quote(given, ak, Demands(NONCE, now=NOW))


@pytest.mark.parametrize("form", [bytes, authority.in_pem], ids=["der", "pem"])
def test_an_ak_that_a_ca_vouches_for(form: Any) -> None:
    certificate = form(authority.leaf(ROOT, public(), AK_PURPOSE))
    assert judged(certificate, ROOT.pem).status is Status.GENUINE
    assert judged(certificate, None).status is Status.AK_NOT_PROVEN


def test_an_ak_that_no_ca_vouches_for() -> None:
    other = authority.root("other")
    for leaf, roots in (
        (authority.leaf(ROOT, public(), AK_PURPOSE), other.pem),
        (authority.leaf(ROOT, public(), EK_PURPOSE), ROOT.pem),
        (authority.leaf(other, public(), AK_PURPOSE), ROOT.pem),
        (authority.leaf(ROOT, public(), AK_PURPOSE, end=NOW - timedelta(hours=1)), ROOT.pem),
    ):
        verdict = judged(leaf, roots)
        assert verdict.status is Status.CERTIFICATE
        assert verdict.values is None


def test_roots_that_are_none() -> None:
    leaf = authority.leaf(ROOT, public(), AK_PURPOSE)
    for roots in (b"", b"no certificate", ROOT.pem[:-40]):
        assert judged(leaf, roots).status is Status.MALFORMED


def test_a_certificate_of_another_key_has_not_signed() -> None:
    leaf = authority.leaf(ROOT, public("p256"), AK_PURPOSE)
    assert judged(leaf, ROOT.pem).status is Status.SIGNATURE

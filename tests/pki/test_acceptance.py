"""Foreign certificates: what is accepted, and every refusal with its reason."""

import os
import time
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from tests.pki.foreign import DAY, FAULTS, REPORTED, STRANGE, Authority, der, name, pem, public
from tests.pki.made import new_key
from vtpmd.pki.acceptance import Tpm, accept
from vtpmd.pki.certificates import Certificates
from vtpmd.pki.chains import accept_issuer
from vtpmd.pki.errors import RefusedError

KINDS = ("rsa-2048", "ecc-p256", "ecc-p384")


@pytest.fixture
def tpm(keys: dict[str, Any]) -> Tpm:
    return Tpm({kind: public(key) for kind, key in keys.items()}, REPORTED)


@pytest.fixture
def root() -> Authority:
    return Authority("root")


@pytest.fixture
def issuer(root: Authority) -> Authority:
    return Authority("issuing", root, path_length=0)


def accepted(
    tpm: Tpm, files: Mapping[str, bytes], roots: Mapping[str, bytes] | None = None
) -> Certificates:
    return accept(tpm, files, roots or {})


def test_in_any_order_and_form(
    tpm: Tpm, keys: dict[str, Any], root: Authority, issuer: Authority
) -> None:
    leaves = {kind: issuer.certify(key, ca=None) for kind, key in keys.items()}
    above = [issuer.certificate, root.certificate]
    one_file = {"all": pem(root.certificate, *leaves.values(), issuer.certificate)}
    several = {"a": der(root.certificate), "b": der(issuer.certificate)} | {
        kind: der(leaf) for kind, leaf in leaves.items()
    }
    for files in (one_file, several, dict(reversed(several.items()))):
        found = accepted(tpm, files)
        assert (dict(found.leaves), list(found.chain)) == (leaves, above)
    with_roots = accepted(
        tpm, {"x": pem(*leaves.values(), issuer.certificate)}, {"r": pem(root.certificate)}
    )
    assert list(with_roots.chain) == above


def test_a_root_may_issue_itself(tpm: Tpm, keys: dict[str, Any], root: Authority) -> None:
    leaf = root.certify(keys["rsa-2048"])
    assert list(accepted(tpm, {"x": pem(leaf, root.certificate)}).chain) == [root.certificate]
    assert list(accepted(tpm, {"x": pem(leaf)}, {"r": pem(root.certificate)}).leaves) == [
        "rsa-2048"
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_certificate_with_a_fault(
    tpm: Tpm, keys: dict[str, Any], root: Authority, kind: str, fault: str
) -> None:
    make, reason = FAULTS[fault]
    good = {other: root.certify(keys[other]) for other in KINDS if other != kind}
    files = {"good.pem": pem(root.certificate, *good.values())}
    assert accepted(tpm, files).leaves == good
    with pytest.raises(RefusedError) as refused:
        accepted(tpm, {**files, "bad.der": der(make(root, keys[kind]))})
    assert str(refused.value).startswith("bad.der: ")
    assert reason in str(refused.value)


def test_another_key(tpm: Tpm, root: Authority) -> None:
    stranger = ec.generate_private_key(ec.SECP256R1()).public_key()
    with pytest.raises(RefusedError, match="x: its key is no EK of this TPM"):
        accepted(tpm, {"x": pem(root.certify(stranger), root.certificate)})
    unusual = ec.generate_private_key(ec.SECP256K1()).public_key()
    with pytest.raises(RefusedError, match="no EK of this TPM"):
        accepted(tpm, {"x": pem(root.certify(unusual), root.certificate)})


def test_two_for_one_key(tpm: Tpm, keys: dict[str, Any], root: Authority) -> None:
    one, other = (der(root.certify(keys["ecc-p256"])) for _ in range(2))
    with pytest.raises(RefusedError, match=r"b: a second .*ecc-p256 key, besides a"):
        accepted(tpm, {"a": one, "b": other, "r": der(root.certificate)})


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_no_certificate(tpm: Tpm, content: bytes) -> None:
    with pytest.raises(RefusedError, match="x: it is no certificate"):
        accepted(tpm, {"x": content})


def test_only_authorities(tpm: Tpm, root: Authority) -> None:
    with pytest.raises(RefusedError, match="no certificate of an EK"):
        accepted(tpm, {"x": pem(root.certificate)})


def test_chains_that_lead_nowhere(
    tpm: Tpm, keys: dict[str, Any], root: Authority, issuer: Authority
) -> None:
    leaf = issuer.certify(keys["rsa-2048"])
    impostor = Authority("issuing", Authority("root"))
    other_root = Authority("other")
    with pytest.raises(RefusedError, match="issuer did not come with it"):
        accepted(tpm, {"x": pem(leaf)})
    with pytest.raises(RefusedError, match="issuer did not come with it"):
        accepted(tpm, {"x": pem(leaf, impostor.certificate)})
    whole = {"x": pem(leaf, issuer.certificate, root.certificate)}
    assert accepted(tpm, whole).leaves
    for roots in (other_root, Authority("root")):
        with pytest.raises(RefusedError, match="does not chain to any of the root"):
            accepted(tpm, whole, {"r": pem(roots.certificate)})
    assert accepted(tpm, whole, {"r": pem(other_root.certificate, root.certificate)}).leaves


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"ca": False}, "no EK of this TPM"),
        ({"sign": False}, "does not permit to sign"),
        ({"weak": "sha1"}, "signed with SHA1"),
        ({"begin": -2 * DAY, "end": -DAY}, "has expired"),
        ({"begin": DAY}, "not valid before"),
        ({"padding": 2048}, "larger than 2048"),
    ],
)
def test_an_authority_with_a_fault(
    tpm: Tpm, keys: dict[str, Any], root: Authority, fault: dict[str, Any], reason: str
) -> None:
    issuer = Authority("issuing", root, **fault)
    files = {"a": der(issuer.certify(keys["rsa-2048"])), "b": der(issuer.certificate)}
    with pytest.raises(RefusedError, match=f"b: .*{reason}"):
        accepted(tpm, {**files, "c": der(root.certificate)})


def test_more_authorities_than_one_permits(tpm: Tpm, keys: dict[str, Any]) -> None:
    root = Authority("root", path_length=1)
    middle = Authority("middle", root)
    issuer = Authority("issuing", middle)
    files = {
        "x": pem(issuer.certify(keys["rsa-2048"]), issuer.certificate, middle.certificate),
        "root": pem(root.certificate),
    }
    with pytest.raises(RefusedError, match="root: there are more authorities below it"):
        accepted(tpm, files)


def test_authorities_that_sign_each_other(tpm: Tpm, keys: dict[str, Any]) -> None:
    """A circle ends."""
    first = Authority("one")
    other = Authority("two", first)
    again = Authority("one", other, key=first.key)
    files = {"x": pem(again.certify(keys["rsa-2048"]), again.certificate, other.certificate)}
    assert accepted(tpm, files).chain


def test_a_root_that_is_trusted_has_to_be_one(tpm: Tpm, keys: dict[str, Any]) -> None:
    """Not least because a certificate of no authority is read again as one of an EK."""
    faults: list[tuple[dict[str, Any], str]] = [
        ({"ca": False, "key": rsa.generate_private_key(65537, 2048)}, "CA:FALSE"),
        ({"sign": False}, "does not permit to sign"),
        ({"begin": -2 * DAY, "end": -DAY}, "has expired"),
        ({"begin": DAY}, "not valid before"),
    ]
    for fault, reason in faults:
        root = Authority("root", **fault)
        with pytest.raises(RefusedError, match=f"^r: .*{reason}"):
            accepted(tpm, {"x": pem(root.certify(keys["ecc-p256"]))}, {"r": pem(root.certificate)})
    above = Authority("root", path_length=0)
    issuer = Authority("issuing", above)
    with pytest.raises(RefusedError, match="r: there are more authorities below it"):
        accepted(
            tpm,
            {"x": pem(issuer.certify(keys["ecc-p256"]), issuer.certificate)},
            {"r": pem(above.certificate)},
        )


def test_an_authority_may_have_a_newer_certificate(tpm: Tpm, keys: dict[str, Any]) -> None:
    """Of the same name and key: the one that has expired is in nobody's way, in any order."""
    key = ec.generate_private_key(ec.SECP256R1())
    root = Authority("root")
    issuer = Authority("issuing", root, key=key)
    current, leaf = issuer.certificate, issuer.certify(keys["ecc-p256"])
    ended = Authority("issuing", root, key=key, begin=-2 * DAY, end=-DAY).certificate
    for above in ((ended, current), (current, ended)):
        whole = {"x": pem(leaf, *above), "r": pem(root.certificate)}
        assert list(accepted(tpm, whole).chain) == [current, root.certificate]
        assert list(accepted(tpm, {"x": pem(leaf)}, {"r": pem(*above)}).chain) == [current]


def mesh(key: Any, keys: list[Any]) -> bytes:
    """An EK's certificate below authorities of two names, each signed with the next one's key."""
    names = ("one", "other")
    authorities = [Authority(names[len(keys) % 2], key=keys[-1])]
    for number in reversed(range(len(keys) - 1)):
        authorities.append(Authority(names[number % 2], authorities[-1], key=keys[number]))
    return pem(authorities[-1].certify(key), *(each.certificate for each in authorities))


def test_what_was_made_to_take_long_is_refused_at_once(tpm: Tpm, keys: dict[str, Any]) -> None:
    """As many signatures as a request has room for, of which each could be the right one."""
    many = [ec.generate_private_key(ec.SECP521R1()) for _ in range(200)]
    octets = mesh(keys["ecc-p256"], many)
    assert len(octets) > 64 << 10
    for files, roots in (
        ({"x": octets}, {}),
        ({"x": octets}, {"r": octets}),
        ({"x": mesh(keys["ecc-p256"], many[:20])}, {}),
    ):
        began = time.process_time()
        with pytest.raises(RefusedError, match=r"^[xr]: there are more than"):
            accepted(tpm, files, roots)
        assert time.process_time() - began < 1


@given(st.binary(max_size=200), st.integers(0, 5000), st.integers(0, 255))
def test_no_octets_do_more_than_be_refused(noise: bytes, at: int, value: int) -> None:
    for octets in (noise, flipped(SAMPLE, at, value), SAMPLE[: at % len(SAMPLE)]):
        try:
            accepted(SAMPLE_TPM, {"x": octets})
        except RefusedError:
            continue


def flipped(octets: bytes, at: int, value: int) -> bytes:
    at %= len(octets)
    return octets[:at] + bytes((value,)) + octets[at + 1 :]


_KEY = ec.generate_private_key(ec.SECP256R1()).public_key()
SAMPLE = der(Authority("root").certify(_KEY))
SAMPLE_TPM = Tpm({"ecc-p256": public(_KEY)}, REPORTED)


def test_an_issuer_for_the_own_authority() -> None:
    key = new_key()
    root = Authority("root")
    issuer = Authority("ours", root, path_length=0, key=key)
    chain = accept_issuer(key.public_key(), "f", pem(root.certificate, issuer.certificate))
    assert chain == (issuer.certificate, root.certificate)
    for octets, reason in (
        (pem(root.certificate), "f: it holds 0 certificates"),
        (pem(issuer.certificate, issuer.certificate), "it holds 2 certificates"),
        (pem(issuer.certificate), "issuer did not come with it"),
        (os.urandom(50), "it is no certificate"),
        (pem(Authority("ours", root, ca=False, key=key).certificate, root.certificate), "CA:FALSE"),
        (
            pem(Authority("ours", root, sign=False, key=key).certificate, root.certificate),
            "does not permit",
        ),
    ):
        with pytest.raises(RefusedError, match=reason):
            accept_issuer(key.public_key(), "f", octets)


DIRECTORY = x509.DirectoryName(name("somebody"))
CONSTRAINTS: dict[str, tuple[x509.ExtensionType, bool, str]] = {
    "unknown and critical": (x509.UnrecognizedExtension(STRANGE, b""), True, "not understood"),
    "unknown": (x509.UnrecognizedExtension(STRANGE, b""), False, ""),
    "other kinds of names": (x509.NameConstraints([x509.DNSName("a.example")], None), True, ""),
    "permitted names": (x509.NameConstraints([DIRECTORY], None), True, "constrained"),
    "excluded names": (x509.NameConstraints(None, [DIRECTORY]), False, "constrained"),
    "policies": (x509.PolicyConstraints(0, None), True, ""),
}


@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_what_an_authority_is_constrained_to(
    tpm: Tpm, keys: dict[str, Any], constraint: str
) -> None:
    """Of its own authority, of an issuer between, and of an issuer for the own authority."""
    extension, critical, reason = CONSTRAINTS[constraint]
    more = ((extension, critical),)
    root, own = Authority("root"), new_key()
    for chain in ([Authority("a", more=more)], [root, Authority("between", root, more=more)]):
        files = {"f": pem(*(each.certificate for each in chain))}
        files["x"] = pem(chain[-1].certify(keys["ecc-p256"]))
        with pytest.raises(RefusedError, match=reason) if reason else nullcontext():
            accepted(tpm, files)
    issuer = Authority("ours", root, key=own, more=more)
    with pytest.raises(RefusedError, match=reason) if reason else nullcontext():
        accept_issuer(own.public_key(), "f", pem(root.certificate, issuer.certificate))


def test_an_issuer_whose_chain_no_tpm_could_hold() -> None:
    """Else each TPM that is made from then on would refuse it."""
    key = new_key()
    above = [Authority("root")]
    for number in range(8):
        above.append(Authority(f"below {number}", above[-1]))
    issuer = Authority("ours", above[-1], key=key)
    chain = pem(*(each.certificate for each in [*above, issuer]))
    with pytest.raises(RefusedError, match="f: there are more than 8"):
        accept_issuer(key.public_key(), "f", chain)
    large = Authority("ours", above[0], key=key, padding=2048)
    with pytest.raises(RefusedError, match="larger than 2048"):
        accept_issuer(key.public_key(), "f", pem(large.certificate, above[0].certificate))

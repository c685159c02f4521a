"""Quotes, credentials and certificates of keys, checked as a verifier would."""

import hashlib

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from tests.conformance.tools import Tools

NONCE = "5ca1ab1e"
TPM_GENERATED = bytes.fromhex("ff544347")


@pytest.fixture
def endorsed(tools: Tools) -> Tools:
    """With an EK (ek.ctx) and an attestation key below it (ak.ctx)."""
    tools("createek -Q -c ek.ctx -G rsa -u ek.pub")
    tools("createak -Q -C ek.ctx -c ak.ctx -G ecc -g sha256 -s ecdsa -u ak.pem -f pem -n ak.name")
    return tools


def assert_signed_by_ak(tools: Tools, message: str, signature: str) -> bytes:
    public = serialization.load_pem_public_key(tools.read("ak.pem"))
    signed = tools.read(message)
    if isinstance(public, rsa.RSAPublicKey):
        public.verify(tools.read(signature), signed, padding.PKCS1v15(), hashes.SHA256())
    else:
        assert isinstance(public, ec.EllipticCurvePublicKey)
        public.verify(tools.read(signature), signed, ec.ECDSA(hashes.SHA256()))
    assert signed.startswith(TPM_GENERATED)
    return signed


@pytest.mark.parametrize(("ek", "ak"), [("rsa", "rsa"), ("rsa", "ecc"), ("ecc", "ecc")])
def test_a_quote_tells_nonce_and_pcrs(tools: Tools, ek: str, ak: str) -> None:
    scheme = "rsassa" if ak == "rsa" else "ecdsa"
    tools(f"createek -Q -c ek.ctx -G {ek} -u ek.pub")
    tools(f"createak -Q -C ek.ctx -c ak.ctx -G {ak} -g sha256 -s {scheme} -u ak.pem -f pem")
    tools(f"pcrextend 16:sha256={'11' * 32}")
    tools(f"quote -Q -c ak.ctx -l sha256:0,16 -q {NONCE} -m quote -s sig -f plain -g sha256")
    signed = assert_signed_by_ak(tools, "quote", "sig")
    extended = hashlib.sha256(bytes(32) + bytes.fromhex("11" * 32)).digest()
    assert bytes.fromhex("0004" + NONCE) in signed
    assert signed.endswith(bytes.fromhex("0020") + hashlib.sha256(bytes(32) + extended).digest())


def test_tpm2_checkquote_accepts_the_quote_and_only_it(endorsed: Tools) -> None:
    endorsed(f"quote -Q -c ak.ctx -l sha256:0,1,7 -q {NONCE} -m quote -s sig -o pcrs -g sha256")
    endorsed(f"checkquote -Q -u ak.pem -m quote -s sig -f pcrs -q {NONCE} -g sha256")
    with pytest.raises(AssertionError):
        endorsed("checkquote -Q -u ak.pem -m quote -s sig -f pcrs -q 00000000 -g sha256")


@pytest.mark.parametrize("algorithm", ["rsa", "ecc"])
def test_a_credential_opens_only_with_ek_and_ak(tools: Tools, algorithm: str) -> None:
    tools(f"createek -Q -c ek.ctx -G {algorithm} -u ek.pub")
    tools("createak -Q -C ek.ctx -c ak.ctx -G ecc -g sha256 -s ecdsa -u ak.pub -n ak.name")
    tools.write("secret", b"the credential")
    name = tools.read("ak.name").hex()
    tools(f"makecredential -Q -u ek.pub -s secret -n {name} -o credential")
    session = tools.satisfied("policysecret -c e")
    tools(f"activatecredential -Q -c ak.ctx -C ek.ctx -i credential -o out -P session:{session}")
    assert tools.read("out") == b"the credential"
    tools("flushcontext", session)
    other = f"{int(name, 16) ^ 1:0{len(name)}x}"
    tools(f"makecredential -Q -u ek.pub -s secret -n {other} -o credential")
    session = tools.satisfied("policysecret -c e")
    tools.refused(
        0x1DF,
        f"activatecredential -Q -c ak.ctx -C ek.ctx -i credential -o out -P session:{session}",
    )


def test_a_key_is_certified_by_its_name(endorsed: Tools) -> None:
    endorsed.primary()
    endorsed.key("ecc256:ecdsa")
    endorsed("certify -Q -c key.ctx -C ak.ctx -g sha256 -o attest -s sig -f plain")
    assert endorsed.read("key.name") in assert_signed_by_ak(endorsed, "attest", "sig")


def test_creation_data_is_certified(endorsed: Tools) -> None:
    endorsed("createprimary -Q -C o -G ecc -c key.ctx --creation-data cd -d digest -t ticket")
    endorsed(
        "certifycreation -Q -C ak.ctx -c key.ctx -d digest -t ticket -g sha256"
        " -o sig --attestation attest -f plain"
    )
    signed = assert_signed_by_ak(endorsed, "attest", "sig")
    assert hashlib.sha256(endorsed.read("cd")[2:]).digest() in signed


def test_an_nv_index_is_certified_with_its_content(endorsed: Tools) -> None:
    endorsed("nvdefine -Q -C o -s 16 0x01500001")
    endorsed.write("content", b"sixteen octets!!")
    endorsed("nvwrite -Q -C o -i content 0x01500001")
    endorsed(
        f"nvcertify -Q -C ak.ctx -c o -g sha256 -f plain -o sig --attestation attest -q {NONCE}"
        " --size 16 --offset 0 0x01500001"
    )
    assert b"sixteen octets!!" in assert_signed_by_ak(endorsed, "attest", "sig")


def test_the_time_is_attested(endorsed: Tools) -> None:
    endorsed(f"gettime -Q -c ak.ctx -g sha256 -q {NONCE} -f plain -o sig --attestation attest")
    assert bytes.fromhex(NONCE) in assert_signed_by_ak(endorsed, "attest", "sig")


def test_the_audit_of_a_session_is_attested(endorsed: Tools) -> None:
    endorsed("startauthsession -S audit.ctx --audit-session")
    endorsed("getrandom -Q -S audit.ctx 8")
    endorsed("getsessionauditdigest -Q -c ak.ctx -g sha256 -m attest -s sig -f plain -S audit.ctx")
    assert_signed_by_ak(endorsed, "attest", "sig")


def test_the_audit_of_commands_is_attested(endorsed: Tools) -> None:
    endorsed("setcommandauditstatus -Q -C o TPM2_CC_GetRandom")
    endorsed("getrandom -Q 8")
    endorsed("getcommandauditdigest -Q -c ak.ctx -g sha256 -m attest -s sig -f plain")
    assert_signed_by_ak(endorsed, "attest", "sig")
    endorsed("setcommandauditstatus -Q -C o --clear-list TPM2_CC_GetRandom")


def test_an_ordinary_key_cannot_sign_what_looks_like_an_attestation(endorsed: Tools) -> None:
    endorsed.write("forged", TPM_GENERATED + bytes(60))
    endorsed.refused(0x3E0, "sign -Q -c ak.ctx -g sha256 -o sig forged")

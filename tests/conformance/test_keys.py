"""Keys: made, loaded, used; their signatures and ciphertexts checked by pyca cryptography."""

import hashlib
import hmac
import struct

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from tests.conformance.tools import Tools

HASHES = {"sha1": hashes.SHA1(), "sha256": hashes.SHA256(), "sha384": hashes.SHA384()}
RC_AUTH_FAIL_OF_FIRST_SESSION = 0x98E
RC_ATTRIBUTES = 0x082
RC_HANDLE_OF_FIRST = 0x18B
RC_INTEGRITY_OF_FIRST_PARAMETER = 0x1DF
RC_SIGNATURE_OF_SECOND_PARAMETER = 0x2DB
MESSAGE = b"what is signed, sealed and encrypted"


def public_key(tools: Tools, context: str) -> PublicKeyTypes:
    tools(f"readpublic -Q -c {context} -f pem -o public.pem")
    return serialization.load_pem_public_key(tools.read("public.pem"))


@pytest.mark.parametrize("hierarchy", ["o", "e", "n", "p"])
@pytest.mark.parametrize("algorithm", ["ecc256", "ecc384", "rsa2048"])
def test_primary_keys_follow_from_seed_and_template(
    tools: Tools, hierarchy: str, algorithm: str
) -> None:
    for name in ("first", "second"):
        tools(f"createprimary -Q -C {hierarchy} -G {algorithm} -c {name}.ctx")
        tools(f"readpublic -Q -c {name}.ctx -n {name}.name -o {name}.public")
    assert tools.read("first.public") == tools.read("second.public")
    digest = hashlib.sha256(tools.read("first.public")[2:]).digest()
    assert tools.read("first.name") == bytes.fromhex("000b") + digest


def test_unique_data_leads_to_another_primary_key(tools: Tools) -> None:
    tools.write("unique", struct.pack("<H", 256) + b"u" * 256)  # as the tool wants it
    tools("createprimary -Q -C o -G rsa -c first.ctx")
    tools("createprimary -Q -C o -G rsa -u unique -c second.ctx")
    tools("readpublic -Q -c first.ctx -n first.name")
    tools("readpublic -Q -c second.ctx -n second.name")
    assert tools.read("first.name") != tools.read("second.name")


@pytest.mark.parametrize("curve", ["ecc256", "ecc384"])
@pytest.mark.parametrize("digest", ["sha256", "sha384"])
def test_ecdsa_signatures_verify_everywhere(tools: Tools, curve: str, digest: str) -> None:
    tools.primary()
    tools.key(f"{curve}:ecdsa-{digest}")
    tools.write("message", MESSAGE)
    tools(f"sign -Q -c key.ctx -g {digest} -f plain -o signature message")
    public = public_key(tools, "key.ctx")
    assert isinstance(public, ec.EllipticCurvePublicKey)
    public.verify(tools.read("signature"), MESSAGE, ec.ECDSA(HASHES[digest]))
    tools(f"verifysignature -Q -c key.ctx -g {digest} -m message -f ecdsa -s signature")
    tools.write("other", b"another message")
    tools.refused(
        RC_SIGNATURE_OF_SECOND_PARAMETER,
        f"verifysignature -Q -c key.ctx -g {digest} -m other -f ecdsa -s signature",
    )


RSA_SIGNATURES: dict[str, padding.AsymmetricPadding] = {
    "rsassa": padding.PKCS1v15(),
    "rsapss": padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.AUTO),
}


@pytest.mark.parametrize("scheme", RSA_SIGNATURES)
def test_rsa_signatures_verify_everywhere(tools: Tools, scheme: str) -> None:
    tools.primary()
    tools.key(f"rsa2048:{scheme}-sha256:null")
    tools.write("message", MESSAGE)
    tools(f"sign -Q -c key.ctx -g sha256 -s {scheme} -f plain -o signature message")
    public = public_key(tools, "key.ctx")
    assert isinstance(public, rsa.RSAPublicKey)
    signature = tools.read("signature")
    public.verify(signature, MESSAGE, RSA_SIGNATURES[scheme], hashes.SHA256())
    with pytest.raises(InvalidSignature):
        public.verify(signature, b"another", RSA_SIGNATURES[scheme], hashes.SHA256())
    tools(f"verifysignature -Q -c key.ctx -g sha256 -m message -f {scheme} -s signature")


@pytest.mark.parametrize("scheme", ["rsaes", "oaep"])
def test_rsa_decrypts_what_others_encrypt(tools: Tools, scheme: str) -> None:
    tools.primary()
    tools.key("rsa2048", more="-a fixedtpm|fixedparent|sensitivedataorigin|userwithauth|decrypt")
    tools.write("plain", MESSAGE)
    tools(f"rsaencrypt -Q -c key.ctx -s {scheme} -o cipher.tpm plain")
    public = public_key(tools, "key.ctx")
    assert isinstance(public, rsa.RSAPublicKey)
    pads: dict[str, padding.AsymmetricPadding] = {
        "rsaes": padding.PKCS1v15(),
        "oaep": padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None),
    }
    tools.write("cipher.host", public.encrypt(MESSAGE, pads[scheme]))
    for cipher in ("cipher.tpm", "cipher.host"):
        assert tools(f"rsadecrypt -c key.ctx -s {scheme} {cipher}") == MESSAGE
    tools.write("cipher.bad", bytes(256))
    with pytest.raises(AssertionError):
        tools(f"rsadecrypt -c key.ctx -s {scheme} cipher.bad")


@pytest.mark.parametrize("mode", ["cfb", "cbc", "ctr", "ofb"])
def test_symmetric_keys_encrypt_and_decrypt(tools: Tools, mode: str) -> None:
    tools.primary()
    tools.key(f"aes256{mode}", more="-a userwithauth|sensitivedataorigin|decrypt|sign")
    tools.write("plain", b"sixteen octets! " * 20)
    tools("encryptdecrypt -Q -c key.ctx -o cipher plain")
    assert tools.read("cipher") != tools.read("plain")
    tools("encryptdecrypt -Q -d -c key.ctx -o again cipher")
    assert tools.read("again") == tools.read("plain")


@pytest.mark.parametrize("size", [10, 3000])
def test_hmac_of_an_external_key_is_that_of_the_standard_library(tools: Tools, size: int) -> None:
    tools.write("secret", b"k" * 32)
    tools.write("data", b"d" * size)  # 3000: a sequence
    attributes = "-a sign|decrypt|userwithauth"  # both: the scheme is the command's to say
    tools(f"loadexternal -Q -C n -G keyedhash {attributes} -r secret -c key.ctx")
    assert tools.text("hmac -c key.ctx -g sha256 --hex data").strip() == (
        hmac.digest(b"k" * 32, b"d" * size, "sha256").hex()
    )


def test_hmac_keys_of_the_tpm_are_stable_and_distinct(tools: Tools) -> None:
    tools.primary()
    tools.write("data", MESSAGE)
    results = {}
    for name in ("one", "two"):
        tools.key("hmac", name)
        results[name] = tools.text(f"hmac -c {name}.ctx --hex data")
        assert tools.text(f"hmac -c {name}.ctx --hex data") == results[name]
    assert results["one"] != results["two"]


def test_a_public_key_from_outside_verifies_its_signatures(tools: Tools) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    tools.write("public.pem", pem)
    tools.write("message", MESSAGE)
    tools.write("signature", private.sign(MESSAGE, ec.ECDSA(hashes.SHA256())))
    tools("loadexternal -Q -C o -G ecc -u public.pem -c key.ctx")
    tools("verifysignature -Q -c key.ctx -g sha256 -m message -f ecdsa -s signature")
    tools.write("message", b"another")
    tools.refused(
        RC_SIGNATURE_OF_SECOND_PARAMETER,
        "verifysignature -Q -c key.ctx -g sha256 -m message -f ecdsa -s signature",
    )


@pytest.mark.parametrize("algorithm", ["rsa", "ecc"])
def test_a_private_key_from_outside_can_be_imported_and_used(tools: Tools, algorithm: str) -> None:
    private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
    if algorithm == "rsa":
        private = rsa.generate_private_key(65537, 2048)
    else:
        private = ec.generate_private_key(ec.SECP256R1())
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    tools.write("private.pem", pem)
    tools.write("message", MESSAGE)
    tools.primary()
    tools(f"import -Q -C primary.ctx -G {algorithm} -i private.pem -u key.pub -r key.priv")
    tools("load -Q -C primary.ctx -u key.pub -r key.priv -c key.ctx")
    tools("sign -Q -c key.ctx -g sha256 -f plain -o signature message")
    signature = tools.read("signature")
    if isinstance(private, rsa.RSAPrivateKey):
        private.public_key().verify(signature, MESSAGE, padding.PKCS1v15(), hashes.SHA256())
    else:
        private.public_key().verify(signature, MESSAGE, ec.ECDSA(hashes.SHA256()))


def test_a_key_travels_to_another_parent_by_duplicate_and_import(tools: Tools) -> None:
    tools.primary("old.ctx")
    tools.primary("new.ctx", "rsa2048")
    tools("readpublic -Q -c new.ctx -o new.pub")
    tools.policy("policycommandcode TPM2_CC_Duplicate")
    attributes = "-a sensitivedataorigin|userwithauth|sign -L policy"
    tools.key("ecc256:ecdsa", parent="old.ctx", more=attributes)
    tools.satisfied("policycommandcode TPM2_CC_Duplicate")
    tools("duplicate -Q -C new.ctx -c key.ctx -G null -p session:session.ctx -r dup -s seed")
    tools("flushcontext session.ctx")
    tools("import -Q -C new.ctx -u key.pub -i dup -r moved.priv -s seed -L policy")
    tools("load -Q -C new.ctx -u key.pub -r moved.priv -c moved.ctx -n moved.name")
    assert tools.read("moved.name") == tools.read("key.name")
    tools.write("message", MESSAGE)
    tools("sign -Q -c moved.ctx -g sha256 -o signature message")
    tools("verifysignature -Q -c key.ctx -g sha256 -m message -s signature")


def test_a_fixed_key_cannot_be_duplicated(tools: Tools) -> None:
    tools.primary()
    tools.primary("new.ctx", "rsa2048")
    tools.policy("policycommandcode TPM2_CC_Duplicate")
    tools.key("ecc256:ecdsa", more="-L policy")
    tools.satisfied("policycommandcode TPM2_CC_Duplicate")
    tools.refused(
        RC_ATTRIBUTES | 0x100,
        "duplicate -Q -C new.ctx -c key.ctx -G null -p session:session.ctx -r dup -s seed",
    )


def test_a_changed_private_part_is_refused(tools: Tools) -> None:
    tools.primary()
    tools.key("ecc256")
    private = bytearray(tools.read("key.priv"))
    private[-1] ^= 1
    tools.write("key.priv", bytes(private))
    tools.refused(
        RC_INTEGRITY_OF_FIRST_PARAMETER,
        "load -Q -C primary.ctx -u key.pub -r key.priv -c key.ctx",
    )


def test_authorization_values_are_checked_and_can_be_changed(tools: Tools) -> None:
    tools.primary()
    tools.key("ecc256:ecdsa", more="-p first")
    tools.write("message", MESSAGE)
    tools.refused(
        RC_AUTH_FAIL_OF_FIRST_SESSION, "sign -Q -c key.ctx -p wrong -g sha256 -o signature message"
    )
    tools("sign -Q -c key.ctx -p first -g sha256 -o signature message")
    tools("changeauth -Q -C primary.ctx -c key.ctx -p first -r changed.priv second")
    tools("load -Q -C primary.ctx -u key.pub -r changed.priv -c changed.ctx")
    tools("sign -Q -c changed.ctx -p second -g sha256 -o signature message")
    tools.refused(
        RC_AUTH_FAIL_OF_FIRST_SESSION,
        "sign -Q -c changed.ctx -p first -g sha256 -o signature message",
    )


def test_a_key_made_persistent_stays_until_it_is_evicted(tools: Tools) -> None:
    tools.primary()
    tools("readpublic -Q -c primary.ctx -n transient.name")
    tools("evictcontrol -Q -C o -c primary.ctx 0x81000010")
    assert "0x81000010" in tools.text("getcap handles-persistent")
    tools("readpublic -Q -c 0x81000010 -n persistent.name")
    assert tools.read("persistent.name") == tools.read("transient.name")
    tools.key("ecc256:ecdsa", parent="0x81000010")
    tools("evictcontrol -Q -C o -c 0x81000010")
    assert "0x81000010" not in tools.text("getcap handles-persistent")
    tools.refused(RC_HANDLE_OF_FIRST, "readpublic -Q -c 0x81000010")


def test_shared_secrets_are_those_of_the_curve(tools: Tools) -> None:
    tools.primary()
    tools.key("ecc256:ecdh")
    tools("ecdhkeygen -c key.ctx -u point -o secret.one")
    tools("ecdhzgen -c key.ctx -u point -o secret.two")
    public = public_key(tools, "key.ctx")
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert tools.read("secret.one") == tools.read("secret.two")
    assert len(tools.read("secret.one")) >= 64


def test_create_and_load_in_one_command(tools: Tools) -> None:
    tools.primary()
    tools("create -Q -C primary.ctx -G ecc256:ecdsa -c key.ctx")  # TPM2_CreateLoaded
    tools.write("message", MESSAGE)
    tools("sign -Q -c key.ctx -g sha256 -o signature message")
    tools("verifysignature -Q -c key.ctx -g sha256 -m message -s signature")

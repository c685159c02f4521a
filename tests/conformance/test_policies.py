"""Policies: each assertion opens what is bound to it, and nothing else does."""

import hashlib

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.conformance.tools import Tools

RC_POLICY_FAIL_OF_FIRST_SESSION = 0x99D
RC_POLICY_CC_OF_FIRST_SESSION = 0x9A4
RC_AUTH_FAIL_OF_FIRST_SESSION = 0x98E
RC_VALUE_OF_FIRST_PARAMETER = 0x1C4
RC_PCR_CHANGED = 0x128
RC_LOCALITY = 0x907
RC_POLICY = 0x126
RC_VALUE = 0x084
SECRET = b"sealed under a policy"
PCR = "policypcr -l sha256:16"


def seal(tools: Tools, policy: str = "policy", more: str = "") -> None:
    tools.primary()
    attributes = "-a fixedtpm|fixedparent|adminwithpolicy"
    tools(
        f"create -Q -C primary.ctx -i - -L {policy} -u seal.pub -r seal.priv {attributes} {more}",
        given=SECRET,
    )
    tools("load -Q -C primary.ctx -u seal.pub -r seal.priv -c seal.ctx")


def unseal(tools: Tools, *steps: str, value: str = "") -> bytes:
    session = tools.satisfied(*steps)
    return tools(f"unseal -c seal.ctx -p session:{session}{value}")


def refuse_unseal(tools: Tools, code: int, *steps: str, value: str = "") -> None:
    session = tools.satisfied(*steps)
    tools.refused(code, f"unseal -c seal.ctx -p session:{session}{value}")
    tools("flushcontext", session)


@pytest.mark.parametrize(
    "banks", ["sha256:16", "sha1:0,16", "sha384:1,2,3+sha256:16", "sha512:16,23"]
)
def test_pcrs(tools: Tools, banks: str) -> None:
    step = f"policypcr -l {banks}"
    tools.policy(step)
    seal(tools)
    assert unseal(tools, step) == SECRET
    refuse_unseal(tools, RC_POLICY_FAIL_OF_FIRST_SESSION)
    refuse_unseal(tools, RC_POLICY_FAIL_OF_FIRST_SESSION, "policypcr -l sha256:8")
    digests = ",".join(f"{b}={'11' * n}" for b, n in (("sha1", 20), ("sha256", 32), ("sha512", 64)))
    tools(f"pcrextend 16:{digests}")
    refuse_unseal(tools, RC_POLICY_FAIL_OF_FIRST_SESSION, step)
    tools("pcrreset 16")
    assert unseal(tools, step) == SECRET


def test_pcrs_that_change_after_the_assertion(tools: Tools) -> None:
    tools.policy(PCR)
    seal(tools)
    session = tools.satisfied(PCR)
    tools(f"pcrextend 8:sha256={'11' * 32}")
    tools.refused(RC_PCR_CHANGED, f"unseal -c seal.ctx -p session:{session}")


def test_the_policy_digest_is_that_of_part_3(tools: Tools) -> None:
    tools.policy(PCR)
    code, selection = bytes.fromhex("0000017f"), bytes.fromhex("00000001000b03000001")
    pcrs = hashlib.sha256(bytes(32)).digest()
    assert tools.read("policy") == hashlib.sha256(bytes(32) + code + selection + pcrs).digest()


def test_one_of_several_policies(tools: Tools) -> None:
    for index, name in ((16, "one"), (23, "two")):
        tools.policy(f"policypcr -l sha256:{index}", name=name)
    tools("startauthsession -S trial.ctx")
    tools("policyor -Q -S trial.ctx -L policy -l sha256:one,two")
    tools("flushcontext trial.ctx")
    seal(tools)
    either = "policyor -l sha256:one,two"
    tools(f"pcrextend 16:sha256={'11' * 32}")
    assert unseal(tools, "policypcr -l sha256:23", either) == SECRET
    session = tools.satisfied("policypcr -l sha256:16")
    tools.refused(RC_VALUE_OF_FIRST_PARAMETER, f"policyor -S {session} -l sha256:one,two")


def test_an_authorization_value_by_hmac(tools: Tools) -> None:
    tools.policy("policyauthvalue")
    seal(tools, more="-p value")
    assert unseal(tools, "policyauthvalue", value="+value") == SECRET
    refuse_unseal(tools, RC_AUTH_FAIL_OF_FIRST_SESSION, "policyauthvalue", value="+wrong")


def test_an_authorization_value_by_password(tools: Tools) -> None:
    tools.policy("policypassword")
    seal(tools, more="-p value")
    assert unseal(tools, "policypassword", value="+value") == SECRET
    refuse_unseal(tools, RC_AUTH_FAIL_OF_FIRST_SESSION, "policypassword", value="+wrong")


def test_the_authorization_of_another_entity(tools: Tools) -> None:
    tools("changeauth -Q -c o owner")
    tools("startauthsession -S trial.ctx")
    tools("policysecret -Q -S trial.ctx -c o -L policy owner")
    tools("flushcontext trial.ctx")
    tools("changeauth -Q -c o -p owner")
    seal(tools)
    tools("changeauth -Q -c o owner")
    assert unseal(tools, "policysecret -c o owner") == SECRET
    tools("startauthsession --policy-session -S session.ctx")
    tools.refused(0x9A2, "policysecret -S session.ctx -c o wrong")
    tools.refused(RC_POLICY_FAIL_OF_FIRST_SESSION, "unseal -c seal.ctx -p session:session.ctx")


def signer(tools: Tools) -> rsa.RSAPrivateKey:
    """A key outside, whose public part the TPM has loaded as signer.ctx."""
    private = rsa.generate_private_key(65537, 2048)
    pem = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    tools.write("signer.pem", pem)
    tools("loadexternal -Q -C o -G rsa -u signer.pem -c signer.ctx -n signer.name")
    return private


def test_a_signature_over_the_sessions_nonce(tools: Tools) -> None:
    private = signer(tools)
    step = "policysigned -g sha256 -f rsassa -c signer.ctx -s signature"

    def session(policy: str, name: str, forged: bool = False) -> None:
        tools(f"startauthsession {policy} -S {name}")
        tools(f"{step.rsplit(' ', 2)[0]} -S {name} --raw-data to-sign -t 0 -x")
        message = tools.read("to-sign") + (b"x" if forged else b"")
        signature = private.sign(message, padding.PKCS1v15(), hashes.SHA256())
        tools.write("signature", signature)

    session("", "trial.ctx")
    tools(f"{step} -Q -S trial.ctx -L policy -x -t 0")
    tools("flushcontext trial.ctx")
    seal(tools)
    session("--policy-session", "session.ctx")
    tools(f"{step} -Q -S session.ctx -x -t 0")
    assert tools("unseal -c seal.ctx -p session:session.ctx") == SECRET
    session("--policy-session", "forged.ctx", forged=True)
    tools.refused(0x5DB, f"{step} -S forged.ctx -x -t 0")


def test_a_policy_that_a_key_approves(tools: Tools) -> None:
    private = signer(tools)
    approved = tools.policy(PCR, name="approved")
    approve = f"policyauthorize -i {approved} -n signer.name"
    tools.policy(approve)
    seal(tools)
    signature = private.sign(tools.read(approved), padding.PKCS1v15(), hashes.SHA256())
    tools.write("signature", signature)
    tools(
        f"verifysignature -Q -c signer.ctx -g sha256 -m {approved} -f rsassa -s signature -t ticket"
    )
    assert unseal(tools, PCR, f"{approve} -t ticket") == SECRET
    tools(f"pcrextend 16:sha256={'11' * 32}")
    session = tools.satisfied(PCR)
    tools.refused(RC_VALUE_OF_FIRST_PARAMETER, f"{approve} -t ticket -S {session}")


def test_the_command(tools: Tools) -> None:
    step = "policycommandcode TPM2_CC_Unseal"
    tools.policy(step)
    seal(tools)
    assert unseal(tools, step) == SECRET
    tools.policy("policycommandcode TPM2_CC_ObjectChangeAuth")
    seal(tools)
    refuse_unseal(
        tools, RC_POLICY_CC_OF_FIRST_SESSION, "policycommandcode TPM2_CC_ObjectChangeAuth"
    )


def test_the_locality(tools: Tools) -> None:
    tools.policy("policylocality zero")
    seal(tools)
    assert unseal(tools, "policylocality zero") == SECRET
    tools.policy("policylocality three")
    seal(tools)
    refuse_unseal(tools, RC_LOCALITY, "policylocality three")


def test_an_index_that_was_written(tools: Tools) -> None:
    tools.policy("policynvwritten s")
    tools("nvdefine -Q -C o -s 8 -L policy -a ownerwrite|policyread|ownerread 0x01500020")
    session = tools.satisfied("policynvwritten s")
    tools.refused(
        RC_POLICY_FAIL_OF_FIRST_SESSION,
        f"nvread -C 0x01500020 -P session:{session} 0x01500020",
    )


def test_a_comparison_with_nv(tools: Tools) -> None:
    tools("nvdefine -Q -C o -s 8 -a ownerread|ownerwrite|authread 0x01500021")
    tools("nvwrite -Q -C o -i - 0x01500021", given=b"\0\0\0\0\0\0\0\x05")
    tools.write("operand", b"\0\0\0\0\0\0\0\x05")
    step = "policynv -C 0x01500021 -i operand 0x01500021 eq"
    tools.policy(step)
    seal(tools)
    assert unseal(tools, step) == SECRET
    tools("nvwrite -Q -C o -i - 0x01500021", given=b"\0\0\0\0\0\0\0\x06")
    tools("startauthsession --policy-session -S session.ctx")
    tools.refused(RC_POLICY, f"{step} -S session.ctx")


def test_the_clock(tools: Tools) -> None:
    step = "policycountertimer --ult clock=100000000000"
    tools.policy(step)
    seal(tools)
    assert unseal(tools, step) == SECRET
    tools("startauthsession --policy-session -S session.ctx")
    tools.refused(RC_POLICY, "policycountertimer -S session.ctx --ugt clock=100000000000")


def test_a_policy_kept_in_nv(tools: Tools) -> None:
    index = "0x01500022"
    tools(f"nvdefine -Q -C o -s 34 -a ownerread|ownerwrite|authread {index}")
    approved = tools.policy(PCR, name="approved")
    tools(f"nvwrite -Q -C o -i - {index}", given=bytes.fromhex("000b") + tools.read(approved))
    approve = f"policyauthorizenv -C {index} {index}"
    tools("startauthsession -S trial.ctx")
    tools(f"{approve} -Q -S trial.ctx -L policy")
    tools("flushcontext trial.ctx")
    seal(tools)
    assert unseal(tools, PCR, approve) == SECRET
    tools(f"pcrextend 16:sha256={'11' * 32}")
    session = tools.satisfied(PCR)
    tools.refused(RC_VALUE, f"{approve} -S {session}")


def test_the_names_of_the_handles(tools: Tools) -> None:
    tools.primary()
    tools("readpublic -Q -c primary.ctx -n primary.name")
    tools.write("names", hashlib.sha256(tools.read("primary.name")).digest())
    tools.policy("policynamehash -n names")
    seal(tools)
    refuse_unseal(tools, RC_POLICY_FAIL_OF_FIRST_SESSION, "policynamehash -n names")


def test_the_key_a_duplicate_goes_to(tools: Tools) -> None:
    tools.primary()
    for name, algorithm in (("right", "rsa2048"), ("wrong", "ecc384")):
        tools(f"createprimary -Q -C o -G {algorithm} -c {name}.ctx")
        tools(f"readpublic -Q -c {name}.ctx -n {name}.name")
    tools.policy("policyduplicationselect -N right.name")
    tools.key("ecc256:ecdsa", more="-a sensitivedataorigin|userwithauth|sign -L policy")

    def session() -> str:
        return tools.satisfied("policyduplicationselect -n key.name -N right.name")

    duplicate = "duplicate -Q -c key.ctx -G null -r dup -s seed"
    tools(f"{duplicate} -C right.ctx -p session:{session()}")
    tools.refused(
        RC_POLICY_FAIL_OF_FIRST_SESSION, f"{duplicate} -C wrong.ctx -p session:{session()}"
    )


def test_restarting_a_policy(tools: Tools) -> None:
    tools.policy(PCR)
    seal(tools)
    session = tools.satisfied("policypcr -l sha256:8")
    tools(f"policyrestart -S {session}")
    tools(f"{PCR} -Q -S {session}")
    assert tools(f"unseal -c seal.ctx -p session:{session}") == SECRET

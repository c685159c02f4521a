"""Hierarchies, clearing, dictionary attack protection, capabilities, time."""

import re

import pytest

from tests.conformance.tools import Tools

RC_BAD_AUTH_OF_FIRST_SESSION = 0x9A2
RC_AUTH_FAIL_OF_FIRST_SESSION = 0x98E
RC_DISABLED = 0x120
RC_LOCKOUT = 0x921
RC_HIERARCHY_OF_FIRST = 0x185
RC_INTEGRITY_OF_FIRST_PARAMETER = 0x1DF


@pytest.mark.parametrize("hierarchy", ["o", "e", "l"])
def test_a_hierarchys_authorization_is_set_asked_for_and_taken_away(
    tools: Tools, hierarchy: str
) -> None:
    wrong = RC_AUTH_FAIL_OF_FIRST_SESSION if hierarchy == "l" else RC_BAD_AUTH_OF_FIRST_SESSION
    tools(f"changeauth -Q -c {hierarchy} first")
    tools(f"changeauth -Q -c {hierarchy} -p first second")
    tools.refused(wrong, f"changeauth -Q -c {hierarchy} -p first third")
    if hierarchy != "l":
        tools(f"changeauth -Q -c {hierarchy} -p second")
        tools(f"createprimary -Q -C {hierarchy} -G ecc -c key.ctx")


def test_clear_forgets_the_owner_and_changes_the_storage_seed(tools: Tools) -> None:
    tools.primary()
    tools("readpublic -Q -c primary.ctx -n before.name")
    tools("createprimary -Q -C e -G ecc -c endorsement.ctx")
    tools("readpublic -Q -c endorsement.ctx -n endorsement.before")
    tools("evictcontrol -Q -C o -c primary.ctx 0x81000005")
    tools("nvdefine -Q -C o -s 8 0x01500005")
    tools("changeauth -Q -c o secret")
    tools("clear -Q -c l")
    assert "0x81000005" not in tools.text("getcap handles-persistent")
    assert "1500005" not in tools.text("getcap handles-nv-index")
    tools.primary()  # without the owner's secret
    tools("readpublic -Q -c primary.ctx -n after.name")
    assert tools.read("before.name") != tools.read("after.name")
    tools("createprimary -Q -C e -G ecc -c endorsement.ctx")
    tools("readpublic -Q -c endorsement.ctx -n endorsement.after")
    assert tools.read("endorsement.before") == tools.read("endorsement.after")


def test_clear_can_be_forbidden_to_lockout_and_allowed_by_platform(tools: Tools) -> None:
    tools("clearcontrol -Q -C l s")
    tools.refused(RC_DISABLED, "clear -Q -c l")
    tools("clearcontrol -Q -C p c")
    tools("clear -Q -c l")


def test_a_disabled_hierarchy_makes_no_keys(tools: Tools) -> None:
    tools("hierarchycontrol -Q -C o shEnable clear")
    tools.refused(RC_HIERARCHY_OF_FIRST, "createprimary -Q -C o -G ecc -c key.ctx")
    tools("hierarchycontrol -Q -C p shEnable set")
    tools("createprimary -Q -C o -G ecc -c key.ctx")


def test_guessing_leads_to_lockout_and_the_owner_of_lockout_resets_it(tools: Tools) -> None:
    tools("dictionarylockout -Q -s -n 3 -t 1000 -l 1000")
    tools.primary()
    tools.key("ecc256:ecdsa", more="-p right")
    tools.write("message", b"message")
    for _ in range(3):
        tools.refused(
            RC_AUTH_FAIL_OF_FIRST_SESSION, "sign -Q -c key.ctx -p wrong -g sha256 -o sig message"
        )
    tools.refused(RC_LOCKOUT, "sign -Q -c key.ctx -p right -g sha256 -o sig message")
    tools.restart()
    assert "TPM2_PT_LOCKOUT_COUNTER: 0x3" in tools.text("getcap properties-variable")
    tools("dictionarylockout -Q -c")
    assert "TPM2_PT_LOCKOUT_COUNTER: 0x0" in tools.text("getcap properties-variable")
    tools.primary()
    tools("load -Q -C primary.ctx -u key.pub -r key.priv -c key.ctx")
    tools("sign -Q -c key.ctx -p right -g sha256 -o sig message")


def test_keys_that_are_exempt_do_not_count(tools: Tools) -> None:
    tools.primary()
    attributes = "-a fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign|noda"
    tools.key("ecc256:ecdsa", more=f"-p right {attributes}")
    tools.write("message", b"message")
    tools.refused(
        RC_BAD_AUTH_OF_FIRST_SESSION, "sign -Q -c key.ctx -p wrong -g sha256 -o sig message"
    )
    assert "TPM2_PT_LOCKOUT_COUNTER: 0x0" in tools.text("getcap properties-variable")


CAPABILITIES = [
    *("algorithms", "commands", "properties-fixed", "properties-variable", "ecc-curves", "pcrs"),
    *("handles-transient", "handles-persistent", "handles-permanent", "handles-pcr"),
    *("handles-nv-index", "handles-loaded-session", "handles-saved-session"),
]


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_capabilities_are_readable(tools: Tools, capability: str) -> None:
    tools(f"getcap {capability}")


def test_the_tpm_says_it_is_a_tpm_2(tools: Tools) -> None:
    fixed = tools.text("getcap properties-fixed")
    assert 'value: "2.0"' in fixed
    algorithms = tools.text("getcap algorithms")
    for name in ("rsa", "ecc", "aes", "sha256", "hmac", "cfb", "ecdsa", "oaep", "kdf1_sp800_108"):
        assert f"\n{name}:" in "\n" + algorithms
    commands = tools.text("getcap commands")
    for name in ("CreatePrimary", "Quote", "PolicyAuthorizeNV", "NV_Certify", "EncryptDecrypt2"):
        assert f"TPM2_CC_{name}:" in commands
    assert "TPM2_ECC_NIST_P256" in tools.text("getcap ecc-curves")


@pytest.mark.parametrize("parameters", ["rsa2048", "ecc256", "ecc384:ecdsa", "aes128cfb", "hmac"])
def test_parameters_of_supported_keys(tools: Tools, parameters: str) -> None:
    tools("testparms", parameters)


def test_parameters_of_unsupported_keys(tools: Tools) -> None:
    with pytest.raises(AssertionError):
        tools("testparms rsa512")


def test_self_tests_pass(tools: Tools) -> None:
    tools("selftest")
    tools("selftest -f")
    tools("incrementalselftest sha256 rsa")
    assert "success" in tools.text("gettestresult")


def clock(tools: Tools) -> dict[str, int]:
    lines = re.findall(r"(\w+): (\d+)", tools.text("readclock"))
    return {name: int(value) for name, value in lines}


def test_the_clock_goes_on_and_counts_restarts(tools: Tools) -> None:
    before = clock(tools)
    tools("shutdown -c")
    tools.restart()
    after = clock(tools)
    assert after["clock"] >= before["clock"]
    assert after["reset_count"] == before["reset_count"] + 1
    assert after["restart_count"] == 0


def test_the_clock_is_set_only_forward(tools: Tools) -> None:
    now = clock(tools)["clock"]
    tools(f"setclock -c o {now + 1_000_000}")
    assert clock(tools)["clock"] >= now + 1_000_000
    tools.refused(0x1C4, f"setclock -c o {now}")


def test_the_platforms_policy_and_phase(tools: Tools) -> None:
    tools.policy("policycommandcode TPM2_CC_CreatePrimary")
    tools("setprimarypolicy -Q -C o -L policy -g sha256")
    session = tools.satisfied("policycommandcode TPM2_CC_CreatePrimary")
    tools(f"createprimary -Q -C o -P session:{session} -G ecc -c key.ctx")

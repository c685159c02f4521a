"""Sessions: HMAC, salt, parameter encryption; and saved contexts."""

import pytest

from tests.conformance.tools import Tools

INDEX = "0x01500030"
RC_SESSION_REFERENCE = 0x918
RC_AUTH_FAIL_OF_FIRST_SESSION = 0x98E


@pytest.fixture
def salted(tools: Tools) -> Tools:
    tools.primary()
    tools("startauthsession --hmac-session -S session.ctx -c primary.ctx")
    return tools


def test_a_salted_session_encrypts_both_ways(salted: Tools) -> None:
    salted("sessionconfig session.ctx --enable-encrypt --enable-decrypt")
    salted("nvdefine -Q -C o -s 32 -p value -a authread|authwrite", INDEX)
    salted(f"nvwrite -Q -C {INDEX} -P session:session.ctx+value -i - {INDEX}", given=b"n" * 32)
    assert salted(f"nvread -C {INDEX} -P session:session.ctx+value {INDEX}") == b"n" * 32


def test_a_session_proves_the_value_without_sending_it(salted: Tools) -> None:
    salted.key("ecc256:ecdsa", more="-p value")
    salted.write("message", b"message")
    salted("sign -Q -c key.ctx -p session:session.ctx+value -g sha256 -o sig message")
    salted("verifysignature -Q -c key.ctx -g sha256 -m message -s sig")
    salted.refused(
        RC_AUTH_FAIL_OF_FIRST_SESSION,
        "sign -Q -c key.ctx -p session:session.ctx+wrong -g sha256 -o sig message",
    )


@pytest.mark.parametrize("digest", ["sha1", "sha256", "sha384", "sha512"])
def test_random_numbers_are_encrypted_on_the_way(tools: Tools, digest: str) -> None:
    tools.primary("primary.ctx", "rsa2048")
    tools(f"startauthsession --hmac-session -S session.ctx -c primary.ctx -g {digest}")
    tools("sessionconfig session.ctx --enable-encrypt")
    assert len(tools("getrandom -S session.ctx 32")) == 32


def test_a_bound_session(tools: Tools) -> None:
    tools.primary()
    tools.key("ecc256:ecdsa", more="-p value")
    tools("startauthsession --hmac-session -S session.ctx --bind-context key.ctx --bind-auth value")
    tools.write("message", b"message")
    tools("sign -Q -c key.ctx -p session:session.ctx+value -g sha256 -o sig message")
    tools("verifysignature -Q -c key.ctx -g sha256 -m message -s sig")


def test_a_flushed_session_is_gone(salted: Tools) -> None:
    salted("flushcontext session.ctx")
    salted("nvdefine -Q -C o -s 8", INDEX)
    with pytest.raises(AssertionError):
        salted(f"nvread -C o -P session:session.ctx {INDEX}")


def test_sessions_are_listed_while_they_are_saved(salted: Tools) -> None:
    assert "0x" in salted.text("getcap handles-saved-session").lower()
    salted("flushcontext -s")
    assert "0x" not in salted.text("getcap handles-saved-session").lower()


def test_a_saved_object_can_be_loaded_again_and_again(tools: Tools) -> None:
    tools.primary()
    tools.key("ecc256:ecdsa")
    for _ in range(3):
        tools("readpublic -Q -c key.ctx -n again.name")
        assert tools.read("again.name") == tools.read("key.name")


def test_contexts_of_an_earlier_start_are_refused(tools: Tools) -> None:
    tools.primary()
    tools("shutdown -c")  # else a server may shut down by itself, and to resume: a TPM Restart
    tools.restart()
    tools.refused(0x1DF, "readpublic -Q -c primary.ctx")


def test_a_changed_context_is_refused(tools: Tools) -> None:
    tools.primary()
    context = bytearray(tools.read("primary.ctx"))
    context[100] ^= 0xFF
    tools.write("primary.ctx", bytes(context))
    tools.refused(0x1DF, "readpublic -Q -c primary.ctx")

"""The whole way with a real TPM and tpm2-tools: from its EK's certificate to a verdict."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from tests.attest import authority, made
from tests.cli.test_verify import run
from tests.conformance.tools import Tools

pytestmark = pytest.mark.served

NONCE = "5ca1ab1e"
HIGH_RANGE = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|decrypt"
"""Of template H-3 what matters here; tpm2_createek knows only the low range."""
PCRS = "sha256:0,1,7,16"


@dataclass(frozen=True)
class Endorsed:
    """A TPM whose EK is certified."""

    tools: Tools
    session: str
    """What the EK's use needs besides the EK itself."""
    parent: str
    """Of AKs: tpm2_createak knows only EKs of the low range."""

    @property
    def directory(self) -> Path:
        return self.tools.directory

    def path(self, name: str) -> Path:
        return self.directory / name

    def create_ak(self, algorithm: str) -> None:
        scheme = "rsassa" if algorithm == "rsa" else "ecdsa"
        self.tools(f"createak -Q -C {self.parent} -c ak.ctx -G {algorithm} -g sha256 -s {scheme}"
                   " -u ak.pub -n ak.name")  # fmt: skip

    def quote(self, more: str = "") -> None:
        self.tools(f"pcrextend 16:sha256={'11' * 32}")
        self.tools(f"quote -Q -c ak.ctx -l {PCRS} -q {NONCE} -m message -s sig -o pcrs {more}")

    def activated(self) -> None:
        """Open the challenge in the directory `d`."""
        auth = ""
        if self.session:
            auth = f"-P session:{self.tools.satisfied(self.session)}"
        self.tools(
            f"activatecredential -Q -c ak.ctx -C ek.ctx -i d/credential.blob -o answer {auth}"
        )

    def challenge(self, ak: str = "ak.pub") -> Any:
        return run("challenge", "--ek-cert", self.path("ek.crt"), "--ca", self.path("ca.pem"),
                   "--ak", self.path(ak), "-o", self.path("d"))  # fmt: skip

    def verify(self, *more: str | Path, ak: str = "d/ak.json") -> int:
        files = {"--ak": ak, "--message": "message", "--signature": "sig"}
        words = (word for option, file in files.items() for word in (option, self.path(file)))
        return int(run("quote", *words, "--nonce", NONCE, *more).exit_code)


@pytest.fixture(params=["rsa", "ecc", "ecc384"])
def endorsed(tools: Tools, request: pytest.FixtureRequest) -> Endorsed:
    kind = request.param
    if kind == "ecc384":
        tools("createprimary -Q -C e -G ecc384:aes256cfb -g sha384 -c ek.ctx -a", HIGH_RANGE)
    else:
        tools(f"createek -Q -c ek.ctx -G {kind} -u ek.pub")
    tools("readpublic -Q -c ek.ctx -f pem -o ek.pem")
    root = authority.root()
    public: Any = load_pem_public_key(tools.read("ek.pem"))
    tools.write("ek.crt", authority.leaf(root, public))
    tools.write("ca.pem", root.pem)
    if kind != "ecc384":
        return Endorsed(tools, "policysecret -c e", "ek.ctx")
    tools("createek -Q -c parent.ctx -G ecc")
    return Endorsed(tools, "", "parent.ctx")


@pytest.mark.parametrize("ak", ["rsa", "ecc"])
def test_from_a_certificate_to_a_verdict(endorsed: Endorsed, ak: str) -> None:
    endorsed.create_ak(ak)
    assert endorsed.challenge().exit_code == 0
    endorsed.activated()
    assert run("response", endorsed.path("d"), endorsed.path("answer")).exit_code == 0
    endorsed.quote("-g sha256")
    pcrs = ("--pcrs", endorsed.path("pcrs"))
    assert endorsed.verify(*pcrs) == 0
    assert endorsed.verify(*pcrs, "--nonce", "00") == 21
    assert endorsed.verify(*pcrs, ak="ak.pub") == 25
    name = endorsed.tools.read("ak.name").hex()
    assert endorsed.verify(*pcrs, "--ak-name", name, ak="ak.pub") == 0


@pytest.mark.parametrize("endorsed", ["ecc"], indirect=True)
def test_every_file_that_the_tools_write(endorsed: Endorsed) -> None:
    tools = endorsed.tools
    endorsed.create_ak("ecc")
    tools("readpublic -Q -c ak.ctx -f pem -o ak.pem")
    name = ("--ak-name", tools.read("ak.name").hex())
    pcrs = ("--pcrs", endorsed.path("pcrs"))
    for more in ("-F values", "-F serialized", "-f plain", "-f plain -F values"):
        endorsed.quote(f"-g sha256 {more}")
        assert endorsed.verify(*name, *pcrs, ak="ak.pub") == 0
        assert endorsed.verify(*pcrs, ak="ak.pem") == 25
    tools.write("printed", tools(f"pcrread {PCRS}"))
    assert endorsed.verify(*name, "--pcrs", endorsed.path("printed"), ak="ak.pub") == 0
    tools(f"pcrextend 16:sha256={'22' * 32}")
    tools.write("printed", tools(f"pcrread {PCRS}"))
    assert endorsed.verify(*name, "--pcrs", endorsed.path("printed"), ak="ak.pub") == 22


@pytest.mark.parametrize("endorsed", ["ecc"], indirect=True)
def test_a_quote_made_by_hand_deceives_other_verifiers(endorsed: Endorsed) -> None:
    """Signed by a key of the same TPM that is not restricted: tpm2_checkquote accepts it."""
    tools = endorsed.tools
    tools.primary()
    tools.key("ecc256:ecdsa")
    tools("readpublic -Q -c key.ctx -f pem -o key.pem")
    values = {made.SHA256: {index: bytes([index]) * 32 for index in (0, 7)}}
    forged = made.quote(values, bytes.fromhex(NONCE))
    tools.write("message", forged)
    tools("sign -Q -c key.ctx -g sha256 -o sig message")
    tools(f"checkquote -Q -u key.pem -m message -s sig -q {NONCE} -g sha256")
    tools.write("pcrs", made.selected(values))
    pcrs = ("--pcrs", endorsed.path("pcrs"))
    for ak in ("key.pub", "key.pem"):
        assert endorsed.verify(*pcrs, ak=ak) == 25
        assert endorsed.verify(*pcrs, "--ak-name", tools.read("key.name").hex(), ak=ak) == 25
    assert endorsed.challenge("key.pub").exit_code == 25

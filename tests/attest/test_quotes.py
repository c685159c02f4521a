"""Quotes made by hand, and everything that can be wrong with them: which check fails, and how."""

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.attest import made
from tests.attest.made import NONCE, SHA1, SHA256, SHA384, Machine
from vtpmd.attest.errors import MalformedError
from vtpmd.attest.quote import parse_quote
from vtpmd.attest.trust import AttestationKey
from vtpmd.attest.verdict import Outcome, Status, Verdict
from vtpmd.attest.verify import Demands, Evidence, verify_quote

GOOD = Machine()
KINDS = ("rsa", "p256", "p384")
every_bit = pytest.mark.parametrize(
    "kind", ["rsa", "p256", pytest.param("p384", marks=pytest.mark.slow)]
)


def known(machine: Machine) -> AttestationKey:
    """The machine's key, whose Name the verifier knows."""
    return AttestationKey.read(machine.public).named(made.name(machine.public))


def evidence(machine: Machine = GOOD, nonce: bytes = NONCE) -> Evidence:
    message, signature = machine.quote(nonce)
    return Evidence(message, signature, machine.bare_values, machine.log)


def judged(
    given: Evidence, ak: AttestationKey | None = None, demands: Demands | None = None
) -> Verdict:
    return verify_quote(given, ak or known(GOOD), demands or Demands(NONCE))


def outcomes(verdict: Verdict) -> dict[str, Outcome]:
    return {check.name: check.outcome for check in verdict.checks}


@pytest.mark.parametrize("kind", KINDS)
def test_a_genuine_quote(kind: str) -> None:
    machine = Machine(kind=kind)
    verdict = judged(evidence(machine), known(machine))
    assert verdict.status is Status.GENUINE, verdict.decisive
    assert outcomes(verdict) == dict.fromkeys(
        ("signature", "message", "nonce", "pcr-digest", "log", "ak"), Outcome.PASSED
    ) | {"policy": Outcome.SKIPPED}
    assert verdict.quote is not None
    assert (verdict.quote.nonce, verdict.quote.reset_count, verdict.quote.safe) == (NONCE, 7, True)
    assert verdict.values == machine.values
    assert verdict.boot is not None
    assert verdict.boot.secure_boot.enabled is True


@pytest.mark.parametrize("pss", [False, True])
@pytest.mark.parametrize("alg", [SHA256, SHA384])
@pytest.mark.parametrize("form", [made.signature, made.plain], ids=["tss", "plain"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_form_of_a_signature(kind: str, form: object, alg: int, pss: bool) -> None:
    """A bare key tells neither scheme nor hash, so a plain signature may be any."""
    assert callable(form)
    private = made.key(kind)
    message = made.quote(GOOD.values, alg=alg)
    given = Evidence(message, form(private, message, alg, pss), GOOD.bare_values)
    verdict = judged(given, AttestationKey.read(made.pem(private)))
    assert outcomes(verdict)["signature"] is Outcome.PASSED
    assert verdict.status is Status.AK_NOT_PROVEN


def test_a_public_area_says_which_scheme_a_plain_signature_has() -> None:
    private = made.key()
    message = made.quote(GOOD.values)
    ak = AttestationKey.read(made.public(private))
    assert outcomes(judged(Evidence(message, made.plain(private, message)), ak))["signature"] is (
        Outcome.PASSED
    )
    other = made.plain(private, message, pss=True)
    assert judged(Evidence(message, other), ak).status is Status.SIGNATURE


@pytest.mark.parametrize("area", [made.sized(GOOD.public), GOOD.public], ids=["2B", "T"])
@pytest.mark.parametrize("sized", [False, True])
def test_structures_may_have_their_size_before_them(area: bytes, sized: bool) -> None:
    message, signature = GOOD.quote()
    message = made.sized(message) if sized else message
    given = Evidence(message, signature, GOOD.bare_values)
    ak = AttestationKey.read(area).named(made.name(GOOD.public))
    assert judged(given, ak).status is Status.GENUINE


def flips(octets: bytes) -> Iterator[bytes]:
    for bit in range(8 * len(octets)):
        changed = bytearray(octets)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


@pytest.mark.parametrize("form", ["bare", "TPM2B", "plain"])
@every_bit
def test_every_flipped_bit_of_a_message_is_a_wrong_signature(kind: str, form: str) -> None:
    machine = Machine(kind=kind)
    given = evidence(machine)
    if form == "plain":
        given = replace(given, signature=made.plain(machine.private, given.message))
    if form == "TPM2B":
        given = replace(given, message=made.sized(given.message))
    for message in flips(given.message):
        verdict = judged(replace(given, message=message), known(machine))
        assert verdict.status is Status.SIGNATURE
        assert (verdict.quote, verdict.boot, verdict.values) == (None, None, None)
        assert {outcome for name, outcome in outcomes(verdict).items() if name != "ak"} == {
            Outcome.FAILED,
            Outcome.SKIPPED,
        }


@pytest.mark.parametrize("form", [made.signature, made.plain], ids=["tss", "plain"])
@every_bit
def test_every_flipped_bit_and_every_cut_of_a_signature_is_refused(kind: str, form: object) -> None:
    machine = Machine(kind=kind)
    message, _ = machine.quote()
    assert callable(form)
    signature = form(machine.private, message)
    for changed in flips(signature):
        status = judged(Evidence(message, changed), known(machine)).status
        assert status in (Status.SIGNATURE, Status.MALFORMED)
    for end in range(len(signature)):
        assert judged(Evidence(message, signature[:end]), known(machine)).status is Status.MALFORMED
    assert judged(Evidence(message, signature + b"\0"), known(machine)).status is Status.MALFORMED


def test_a_whole_signature_of_another_size_is_malformed() -> None:
    message, signature = GOOD.quote()
    short = signature[:4] + made.sized(signature[6:-1])
    assert judged(Evidence(message, short)).status is Status.MALFORMED


def test_every_cut_of_a_message_is_a_wrong_signature() -> None:
    message, signature = GOOD.quote()
    for end in range(len(message)):
        assert judged(Evidence(message[:end], signature)).status is Status.SIGNATURE


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (made.quote(GOOD.values, magic=0xFF544348), "no TPMS_ATTEST"),
        (made.quote(GOOD.values, magic=0), "no TPMS_ATTEST"),
        (made.quote(GOOD.values, kind=made.CERTIFY), ""),
        (made.quote(GOOD.values, kind=0x8016), ""),
        (made.quote(GOOD.values, more=b"\0"), "no TPMS_ATTEST"),
        (b"", "no TPMS_ATTEST"),
        (b"anything that is signed", "no TPMS_ATTEST"),
    ],
)
def test_what_is_signed_and_no_quote_is_malformed(message: bytes, text: str) -> None:
    """Only a key that is not restricted can have signed this."""
    verdict = judged(Evidence(message, made.signature(GOOD.private, message)))
    assert verdict.status is Status.MALFORMED
    assert verdict.decisive is not None
    assert verdict.decisive.name == "message"
    assert text in verdict.decisive.detail


@pytest.mark.parametrize("nonce", [b"", NONCE[:-1], NONCE + b"\0", b"\0" + NONCE, NONCE[::-1]])
def test_another_nonce(nonce: bytes) -> None:
    verdict = judged(evidence(nonce=nonce))
    assert verdict.status is Status.NONCE
    assert outcomes(verdict)["log"] is Outcome.PASSED  # the other checks are told, too


def test_other_values_than_were_quoted() -> None:
    values = GOOD.bare_values
    for changed in (values[:-1] + bytes([values[-1] ^ 1]), values[32:] + values[:32]):
        verdict = judged(replace(evidence(), pcrs=changed))
        assert verdict.status is Status.PCR_DIGEST
        assert outcomes(verdict)["log"] is Outcome.SKIPPED
        assert verdict.values is None


def test_a_value_that_is_not_given() -> None:
    text = "sha256:\n" + "".join(
        f"  {index} : 0x{value.hex()}\n" for index, value in GOOD.values[SHA256].items()
    )
    assert judged(replace(evidence(), pcrs=text.encode())).status is Status.GENUINE
    without = "\n".join(text.splitlines()[:-1])
    verdict = judged(replace(evidence(), pcrs=without.encode()))
    assert verdict.status is Status.PCR_DIGEST
    assert verdict.decisive is not None
    assert verdict.decisive.detail == "there is no value of sha256:9"


def test_values_that_are_none_are_malformed() -> None:
    assert judged(replace(evidence(), pcrs=b"\xff" * 33)).status is Status.MALFORMED


def test_a_quote_of_nothing_is_refused() -> None:
    selections: list[dict[int, dict[int, bytes]]] = [{}, {SHA256: {}}]
    for values in selections:
        message = made.quote(values)
        verdict = judged(Evidence(message, made.signature(GOOD.private, message), b"", GOOD.log))
        assert verdict.status is Status.PCR_DIGEST


def test_sha1_only_if_it_is_allowed() -> None:
    machine = Machine(algs=(SHA1, SHA256))
    given = evidence(machine)
    assert judged(given).status is Status.PCR_DIGEST
    assert judged(given, demands=Demands(NONCE, allow_sha1=True)).status is Status.GENUINE
    message = made.quote(GOOD.values, alg=SHA1)
    signed = Evidence(message, made.signature(GOOD.private, message, SHA1), None, GOOD.log)
    verdict = judged(signed)
    assert verdict.status is Status.SIGNATURE
    assert verdict.quote is None
    assert judged(signed, demands=Demands(NONCE, allow_sha1=True)).status is Status.GENUINE


def test_a_quote_of_several_banks() -> None:
    machine = Machine(algs=(SHA384, SHA256))
    verdict = judged(evidence(machine))
    assert verdict.status is Status.GENUINE
    assert verdict.values == machine.values


@pytest.mark.parametrize(
    "attributes",
    [
        made.AK & ~made.RESTRICTED,
        made.AK & ~made.SIGN,
        made.AK & ~made.FIXED_TPM,
        made.AK & ~made.FIXED_PARENT,
        made.AK & ~made.ORIGIN,
        made.AK | made.DECRYPT,
    ],
)
def test_a_key_that_signs_what_others_make_proves_nothing(attributes: int) -> None:
    """Everything else about such a quote is right; its Name is even known."""
    machine = Machine(attributes=attributes)
    verdict = judged(evidence(machine), known(machine))
    assert verdict.status is Status.AK_NOT_PROVEN
    others = {
        name: each for name, each in outcomes(verdict).items() if name not in ("ak", "policy")
    }
    assert set(others.values()) == {Outcome.PASSED}
    assert (verdict.quote, verdict.values, verdict.boot) == (None, None, None)


def test_a_name_that_is_a_sha1_digest_proves_nothing() -> None:
    area = made.public(GOOD.private, name_alg=SHA1)
    ak = AttestationKey.read(area)
    assert ak.key.name == b"\0\4" + hashlib.sha1(area).digest()
    assert judged(evidence(), ak.named(ak.key.name)).status is Status.AK_NOT_PROVEN


@pytest.mark.parametrize("form", [GOOD.public, made.pem(GOOD.private)], ids=["public", "pem"])
def test_a_key_that_nobody_vouches_for_proves_nothing(form: bytes) -> None:
    ak = AttestationKey.read(form)
    assert judged(evidence(), ak).status is Status.AK_NOT_PROVEN
    assert judged(evidence(), ak.named(bytes(34))).status is Status.AK_NOT_PROVEN
    named = judged(evidence(), ak.named(made.name(GOOD.public)))
    expected = Status.GENUINE if form == GOOD.public else Status.AK_NOT_PROVEN
    assert named.status is expected


def test_the_first_check_that_fails_decides() -> None:
    message, signature = GOOD.quote(b"another")
    bad = AttestationKey.read(GOOD.public)
    given = Evidence(message, signature, bytes(len(GOOD.bare_values)), b"no log")
    verdict = judged(given, bad)
    assert verdict.status is Status.NONCE
    failed = [check.status for check in verdict.checks if check.outcome is Outcome.FAILED]
    assert failed == [Status.NONCE, Status.PCR_DIGEST, Status.AK_NOT_PROVEN]


def test_a_key_of_another_kind_has_not_signed() -> None:
    message, signature = GOOD.quote()
    for kind in ("p256", "p384"):
        ak = AttestationKey.read(made.public(made.key(kind)))
        assert judged(Evidence(message, signature), ak).status is Status.SIGNATURE


def weak_keys() -> list[bytes]:
    private = made.key()
    assert isinstance(private, rsa.RSAPrivateKey)
    modulus = private.public_key().public_numbers().n
    area = made.public(private)

    def with_exponent(exponent: int) -> bytes:
        return area[:-262] + struct.pack(">I", exponent) + area[-258:]

    assert with_exponent(0) == area
    even = area[:-1] + bytes([area[-1] & 0xFE])
    short = area[:-256] + (modulus >> 8).to_bytes(256)
    point = made.public(made.key("p256"))
    off_curve = point[:-1] + bytes([point[-1] ^ 1])
    small = rsa.generate_private_key(65537, 1024)
    curve = ec.generate_private_key(ec.SECP192R1())
    return [
        *(with_exponent(each) for each in (1, 3, 2, 65536)),
        *(even, short, off_curve, made.pem(small), made.pem(curve)),
        *(area + b"\0", area[:-1], b"", b"\0", b"-----BEGIN PUBLIC KEY-----\n", bytes(70_000)),
    ]


@pytest.mark.parametrize("octets", weak_keys(), ids=lambda octets: str(len(octets)))
def test_what_is_no_key_that_could_prove_anything(octets: bytes) -> None:
    with pytest.raises(MalformedError):
        AttestationKey.read(octets)


def test_what_a_quote_says() -> None:
    quote = parse_quote(made.quote({SHA256: {0: bytes(32), 23: bytes(32)}, SHA384: {7: bytes(48)}}))
    assert quote.selection == ((SHA256, (0, 23)), (SHA384, (7,)))
    assert (quote.clock, quote.restart_count) == (5000, 1)
    assert quote.firmware_version == 0x20260101_00000000

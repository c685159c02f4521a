"""What other machines send to a verifier: judged, or refused as malformed; nothing is believed."""

import json
from collections.abc import Callable

from tests.fuzz.octets import Octets
from vtpmd.attest import report
from vtpmd.attest.certificates import certified_key, parse_certificates
from vtpmd.attest.errors import CertificateError, MalformedError
from vtpmd.attest.eventlog.log import parse_log
from vtpmd.attest.pcrs import parse_values
from vtpmd.attest.policy_text import parse_policy
from vtpmd.attest.quote import parse_quote, signed_octets
from vtpmd.attest.trust import AttestationKey
from vtpmd.attest.verdict import Status
from vtpmd.attest.verify import Demands, Evidence, verify_quote

NONCE = bytes.fromhex("00c0ffee")
POLICY = parse_policy({"secure_boot": {"enabled": True}, "cmdline": ".*", "pcrs": {7: ["5e" * 32]}})


def event_log(data: bytes) -> None:
    """What is read is told as JSON, and never has more events than octets could hold."""
    try:
        log = parse_log(data)
    except MalformedError:
        return
    assert 16 * len(log.events) <= len(data)
    assert json.loads(json.dumps(report.log_document(log)))["events"]


def framed(*parts: bytes) -> bytes:
    """Parts of a quote's evidence, each behind its size in two octets; the last is the log."""
    *others, last = parts
    return b"".join(len(each).to_bytes(2) + each for each in others) + last


def quote(data: bytes) -> None:
    """Never genuine: a key is given whose Name nobody knows.

    Message and values are read on their own, too: behind a signature no fuzzer gets to them.
    """
    source = Octets(data)
    key, message, signature, pcrs = (source.take(source.number(2)) for _ in range(4))
    log = source.take(len(data))
    try:
        selection = parse_quote(signed_octets(message)).selection
        parse_values(pcrs, selection)
    except MalformedError:
        pass
    try:
        ak = AttestationKey.read(key)
    except MalformedError:
        return
    given = Evidence(message, signature, pcrs or None, log or None)
    verdict = verify_quote(given, ak, Demands(NONCE, POLICY))
    assert verdict.status is not Status.GENUINE
    document = report.verdict_document(verdict)
    assert json.loads(json.dumps(document))["verdict"] == "refused"
    assert document["boot"] is None


def certificate(data: bytes) -> None:
    """A chain is read or not, and believed only by itself."""
    try:
        chain = parse_certificates(data)
        certified_key(chain, chain[-1:], chain[0].signature_algorithm_oid)
    except (MalformedError, CertificateError):
        return


TARGETS: tuple[Callable[[bytes], None], ...] = (event_log, quote, certificate)

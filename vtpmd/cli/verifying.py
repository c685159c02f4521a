"""`vtpmctl verify quote`, `log` and `learn`: has files judged, and prints what comes of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from vtpmd.attest import keys, pcrs, policy_text, report, signatures
from vtpmd.attest import quote as quotes
from vtpmd.attest.errors import MalformedError
from vtpmd.attest.eventlog import log as logs
from vtpmd.attest.policy import Facts, Policy
from vtpmd.attest.trust import AttestationKey
from vtpmd.attest.verdict import ASSUMPTION, Status, Verdict
from vtpmd.attest.verify import Demands, Evidence, verify_quote

from . import evidence, files
from .output import say, show_json

_NEEDED: Final = ("ak", "message", "signature", "nonce")
_FROM_QUOTE = "# Learnt from an event log that a quote proves.\n"
_FROM_LOG = "# Learnt from an event log alone: nothing has proven it.\n"


@dataclass(frozen=True)
class Options:
    """What the command line says of a quote: files, and what is demanded of it."""

    ak: Path | None
    ak_name: bytes | None
    ca: Path | None
    message: Path | None
    signature: Path | None
    nonce: bytes | None
    pcrs: Path | None
    log: Path | None
    allow_sha1: bool
    unlogged: frozenset[int] | None

    @property
    def missing(self) -> list[str]:
        """The options that a quote needs and that are not there."""
        return [f"--{name}" for name in _NEEDED if getattr(self, name) is None]

    def read_log(self) -> bytes | None:
        """The log, if there is one, or its beginning if it is too large. Raises ClientError."""
        return None if self.log is None else evidence.read(self.log, logs.MAX_SIZE)

    def verdict(self, policy: Policy | None, log: bytes | None) -> Verdict:
        """Judge the quote with a log that was read.

        Raises ClientError for a file that is not read, or no key at all.
        """
        if missing := self.missing:
            raise click.UsageError(f"a quote needs {', '.join(missing)}")
        assert self.ak is not None
        assert self.message is not None
        assert self.signature is not None
        assert self.nonce is not None
        roots = None if self.ca is None else evidence.parsed(self.ca, keys.MAX_SIZE, _roots)
        ak = evidence.parsed(
            self.ak, keys.MAX_SIZE, lambda octets: AttestationKey.read(octets, roots)
        )
        given = Evidence(
            message=evidence.read(self.message, quotes.MAX_SIZE),
            signature=evidence.read(self.signature, signatures.MAX_SIZE),
            pcrs=None if self.pcrs is None else evidence.read(self.pcrs, pcrs.MAX_SIZE),
            log=log,
        )
        unlogged = self.unlogged or frozenset()
        demands = Demands(self.nonce, policy, self.allow_sha1, unlogged)
        return verify_quote(given, ak if self.ak_name is None else ak.named(self.ak_name), demands)


def quote(policy: Path | None, as_json: bool, **options: Any) -> None:
    """Judge a quote, and end with the verdict's status."""
    given = Options(**options)
    verdict = given.verdict(None if policy is None else _policy(policy), given.read_log())
    _show_verdict(verdict, as_json)
    evidence.end(verdict.status)


def _roots(octets: bytes) -> bytes:
    """The content of a file of roots, if it is one. Raises MalformedError."""
    from vtpmd.attest.certificates import parse_certificates

    parse_certificates(octets)
    return octets


def _policy(path: Path) -> Policy:
    from vtpmd.config.document import DocumentError, read

    def parse(octets: bytes) -> Policy:
        if len(octets) > policy_text.MAX_SIZE:
            raise MalformedError(f"more than {policy_text.MAX_SIZE} octets")
        try:
            content, _ = read(octets, "line")
        except DocumentError as error:
            raise MalformedError(str(error)) from None
        return policy_text.parse_policy(content)

    return evidence.parsed(path, policy_text.MAX_SIZE, parse)


def _show_verdict(verdict: Verdict, as_json: bool) -> None:
    document = report.verdict_document(verdict)
    if as_json:
        show_json(document)
        return
    reason = document["reason"]
    say(document["verdict"] + (f": {reason}" if reason is not None else ""))
    for check in document["checks"]:
        say(f"  {check['outcome']:<7}  {check['check']:<10}  {check['detail']}")
    for rule in document["rules"]:
        kept = "kept" if rule["kept"] else "broken"
        say(f"  {kept:<7}  {rule['rule']}  {rule['detail']}")
    if found := document["quote"]:
        said = "safe" if found["safe"] else "not safe: it may have been turned back"
        resets = f"resets {found['reset_count']}, restarts {found['restart_count']}"
        say(f"The TPM's firmware {found['firmware_version']}; {resets}; its clock is {said}.")
    if document["boot"] is not None:
        _show_boot(document["boot"])
    say(ASSUMPTION)


def _show_boot(boot: report.Document) -> None:
    state = boot["secure_boot"]
    word = {True: "on", False: "off", None: "unknown"}[state["enabled"]]
    say(f"Secure Boot: {word} ({state['reason']})")
    if not state["dma_protection"]:
        say("DMA protection: off")
    if boot["firmware_version"] is not None:
        say(f"Firmware: {boot['firmware_version'] or '(no version)'}")
    for digest in boot["boot_apps"] or ():
        say(f"Started: {digest}")
    for line in boot["cmdlines"]:
        say(f"Kernel command line: {line}")


def log(file: Path, as_json: bool) -> None:
    """Print an event log. Raises ClientError."""
    parsed = evidence.parsed(file, logs.MAX_SIZE, logs.parse_log)
    document = report.log_document(parsed)
    if as_json:
        show_json(document)
        return
    for event in document["events"]:
        pcr = "any" if event["pcr"] > 23 else event["pcr"]
        say(f"{event['number']:>4}  PCR {pcr:<3}  {event['type']}: {event['data']}")
        say(f"      {event['digest']}")
    for bank, digests in document["pcrs"].items():
        say(f"{bank}:")
        for index, value in digests.items():
            say(f"  {index:<2}: 0x{value.upper()}")
    _show_boot(document["boot"])
    say(document["assumption"])


def learn(indices: frozenset[int] | None, out: Path, as_json: bool, **options: Any) -> None:
    """Write a policy, unless a quote is given and refused. Raises ClientError."""
    from vtpmd.attest import learning
    from vtpmd.config.document import write

    given = Options(**options)
    files.check_absent(out)
    octets = given.read_log()
    if octets is None:
        raise click.UsageError("a policy is learnt from a --log")
    with evidence.refusing(str(given.log)):
        parsed = logs.parse_log(octets)
    if len(given.missing) == len(_NEEDED):
        facts, head = learning.facts_of_log(parsed, given.allow_sha1), _FROM_LOG
    else:
        verdict = given.verdict(None, octets)
        if verdict.status is not Status.GENUINE or verdict.quote is None:
            _show_verdict(verdict, as_json)
            evidence.end(verdict.status)
        facts = Facts(verdict.values or {}, verdict.boot, verdict.quote.firmware_version)
        head = _FROM_QUOTE
    measured = learning.measured_pcrs(parsed)
    content = learning.learn(facts, measured if indices is None else indices)
    if as_json:
        show_json(content)
    if not (as_json and files.is_standard(out)):
        files.write(out, (head + write(content)).encode())

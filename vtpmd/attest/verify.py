"""Verify a quote together with its key, PCR values and event log.

The signature comes first, over the raw octets: nothing of a message is read, or told, before it
has been found valid.
"""

from dataclasses import dataclass, field
from datetime import datetime

from vtpmd.tpm.wire.constants import ALG, DIGEST_SIZES

from . import trust
from .allowed import bank_name
from .errors import MalformedError
from .eventlog.boot import Boot, Proven, altered, boot_facts
from .eventlog.log import Log, parse_log
from .eventlog.replay import replay
from .keys import HashlessKey
from .pcrs import PcrValues, parse_values
from .policy import Facts, Policy, Rule
from .quote import MAX_SIZE, Quote, missing_values, parse_quote, pcr_digest, signed_octets
from .signatures import is_valid, parse_signature
from .verdict import Check, Outcome, Status, Verdict, failed, passed, skipped

_FIRST_EVENTS = 3
_IMA_PCR = 10
_BY_SIZE = {32: ALG.SHA256, 48: ALG.SHA384, 64: ALG.SHA512}
"""The hash of a digest by its octets, where nothing says which it is."""
"""Linux extends it by a list of its own, of which a log has nothing."""


@dataclass(frozen=True)
class Evidence:
    """What a machine has sent: files, as they are."""

    message: bytes
    """TPMS_ATTEST or TPM2B_ATTEST."""
    signature: bytes
    pcrs: bytes | None = None
    log: bytes | None = None


@dataclass(frozen=True)
class Demands:
    """What the verifier wants of it."""

    nonce: bytes
    policy: Policy | None = None
    allow_sha1: bool = False
    unlogged: frozenset[int] = frozenset()
    """PCRs that are extended without the log's knowledge; they are not compared with it."""
    now: datetime | None = None
    """When certificates have to be valid; None: now."""


def verify_quote(evidence: Evidence, ak: trust.AttestationKey, demands: Demands) -> Verdict:
    """Judge a quote. Whatever is wrong with the evidence is in the verdict: nothing is raised."""
    return _Verification(evidence, ak, demands).verdict()


@dataclass
class _Verification:
    """One verification: each step adds checks, and what it has proven for the next ones."""

    evidence: Evidence
    ak: trust.AttestationKey
    demands: Demands
    quote: Quote | None = None
    hash_alg: int = ALG.NULL
    """Of the signature, and of the digest over the PCRs."""
    values: PcrValues | None = None
    boot: Boot | None = None
    rules: tuple[Rule, ...] = ()
    checks: list[Check] = field(default_factory=list)

    def verdict(self) -> Verdict:
        steps = (self._signature, self._message, self._nonce, self._digest, self._log, self._policy)
        for step in steps:
            self.checks.append(step())
        self.checks.append(trust.judge(self.ak, self.demands.now))
        if self.checks[-1].outcome is Outcome.FAILED:  # what such a key has signed proves nothing
            return Verdict(tuple(self.checks), rules=self.rules)
        return Verdict(tuple(self.checks), self.quote, self.values, self.boot, self.rules)

    def _signature(self) -> Check:
        name, message = "signature", signed_octets(self.evidence.message)
        if len(self.evidence.message) > MAX_SIZE:
            return failed(name, Status.MALFORMED, f"a message of more than {MAX_SIZE} octets")
        try:
            readings = parse_signature(self.evidence.signature, self.ak.key)
        except MalformedError as error:
            return failed(name, Status.MALFORMED, str(error))
        for reading in readings:
            if is_valid(reading, self.ak.key.key, message):
                if reading.hash_alg == ALG.SHA1 and not self.demands.allow_sha1:
                    return failed(name, Status.SIGNATURE, "it is over a SHA-1 digest")
                self.hash_alg = reading.hash_alg
                scheme = ALG(reading.scheme).name
                return passed(name, f"{scheme} with {bank_name(reading.hash_alg)}")
        return failed(name, Status.SIGNATURE, "it is not of this key over this message")

    def _message(self) -> Check:
        if self.hash_alg == ALG.NULL:
            return skipped("message", "not signed by this key, so not read")
        try:
            self.quote = parse_quote(signed_octets(self.evidence.message))
        except MalformedError as error:
            return failed("message", Status.MALFORMED, str(error))
        key = self.ak.key.key
        if isinstance(key, HashlessKey) and key.hash_alg == ALG.NULL:
            # Nothing says it; what is signed is the digest, and its size tells which are possible.
            self.hash_alg = _BY_SIZE.get(len(self.quote.pcr_digest), self.hash_alg)
        return passed("message", "a quote, with TPM_GENERATED_VALUE")

    def _nonce(self) -> Check:
        if self.quote is None:
            return skipped("nonce", "there is no quote")
        if self.quote.nonce != self.demands.nonce:
            return failed("nonce", Status.NONCE, f"it is {self.quote.nonce.hex() or 'empty'}")
        return passed("nonce", "it is the verifier's")

    def _digest(self) -> Check:
        name, quote = "pcr-digest", self.quote
        if quote is None:
            return skipped(name, "there is no quote")
        banks = {alg for alg, indices in quote.selection if indices}
        if ALG.SHA1 in banks and not self.demands.allow_sha1:
            return failed(name, Status.PCR_DIGEST, "the quote has PCRs of the bank sha1")
        if not banks:
            return failed(name, Status.PCR_DIGEST, "the quote is of no PCR")
        if self.evidence.pcrs is None:
            if self.evidence.log is None:
                detail = "neither PCR values nor a log are given that it could be of"
                return failed(name, Status.PCR_DIGEST, detail)
            return skipped(name, "the PCRs' values are those of the log")
        try:
            values_given = parse_values(self.evidence.pcrs, quote.selection)
        except MalformedError as error:
            return failed(name, Status.MALFORMED, str(error))
        return self._compare(name, Status.PCR_DIGEST, quote, values_given)

    def _compare(self, name: str, status: Status, quote: Quote, values: PcrValues) -> Check:
        """Whether the digest is of these values; if so, those that are quoted are proven."""
        if missing := missing_values(quote.selection, values):
            return failed(name, status, f"there is no value of {missing[0]}")
        if pcr_digest(quote.selection, values, self.hash_alg) != quote.pcr_digest:
            return failed(name, status, "the quote is of other values")
        self.values = {}
        for alg, indices in quote.selection:
            self.values.setdefault(alg, {}).update({i: values[alg][i] for i in indices})
        return passed(name, f"the quote is of these values of {_selection(self.values)}")

    def _log(self) -> Check:
        name, quote = "log", self.quote
        if self.evidence.log is None:
            return skipped(name, "none is given")
        digest_check = self.checks[-1]
        if quote is None or digest_check.outcome is Outcome.FAILED:
            return skipped(name, "there are no values to compare it with")
        try:
            log = parse_log(self.evidence.log)
        except MalformedError as error:
            return failed(name, Status.MALFORMED, str(error))
        replayed = replay(log, [alg for alg, _ in quote.selection])
        if self.values is None:
            check = self._compare(name, Status.LOG, quote, replayed)
        else:
            check = self._diverging(log, replayed, self.values)
        if check.outcome is Outcome.FAILED or self.values is None:
            return check
        proven = _proven(self.values, self.demands.unlogged)
        if changed := altered(log, proven):
            number = changed[0].number
            return failed(name, Status.LOG, f"event {number} was changed after it was measured")
        self.boot = boot_facts(log, proven)
        return check

    def _diverging(self, log: Log, replayed: PcrValues, values: PcrValues) -> Check:
        for alg, digests in values.items():
            if alg not in replayed:
                return failed("log", Status.LOG, f"it has no bank {bank_name(alg)}")
            for index, value in sorted(digests.items()):
                made = replayed[alg][index]
                if made != value and index not in self.demands.unlogged:
                    events = [str(each.number) for each in log.events if each.pcr == index]
                    shown = ", ".join(events[:_FIRST_EVENTS]) or "none"
                    detail = (
                        f"PCR {index} of {bank_name(alg)} differs first: the log makes "
                        f"{made.hex()}, the TPM has {value.hex()} (events {shown}"
                        f"{' …' if len(events) > _FIRST_EVENTS else ''})"
                    )
                    if index == _IMA_PCR and not events:
                        detail += ", as it is where IMA extends it: --unlogged 10"
                    return failed("log", Status.LOG, detail)
        return passed("log", f"{len(log.events)} events make the values that were quoted")

    def _policy(self) -> Check:
        policy, name = self.demands.policy, "policy"
        if policy is None:
            return skipped(name, "none is given: nothing is said of whether the machine is good")
        if self.quote is None:
            return skipped(name, "there is no quote")
        facts = Facts(self.values or {}, self.boot, self.quote.firmware_version)
        self.rules = policy.judge(facts)
        broken = [rule.name for rule in self.rules if not rule.kept]
        if broken:
            return failed(name, Status.POLICY, f"broken: {', '.join(broken)}")
        return passed(name, f"{len(self.rules)} rules are kept")


def _proven(values: PcrValues, unlogged: frozenset[int]) -> Proven:
    """The bank in which each PCR is best proven: the one with the longest digests."""
    by_size = sorted(values, key=lambda alg: DIGEST_SIZES[alg])
    return {index: alg for alg in by_size for index in values[alg] if index not in unlogged}


def _selection(values: PcrValues) -> str:
    """Banks and PCRs as tpm2-tools write them."""
    return "+".join(
        f"{bank_name(alg)}:{','.join(map(str, sorted(bank)))}" for alg, bank in values.items()
    )

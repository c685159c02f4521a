"""Verdicts and logs as documents for programs: what `--json` prints."""

from typing import Any

from vtpmd.tpm.crypto.hashes import HASHES

from .allowed import bank_name
from .eventlog.boot import Boot, boot_facts
from .eventlog.coverage import coverage
from .eventlog.describe import describe
from .eventlog.log import Event, Log
from .eventlog.replay import replay
from .eventlog.types import type_name
from .pcrs import PcrValues
from .quote import Quote
from .verdict import ASSUMPTION, Status, Verdict

Document = dict[str, Any]


def verdict_document(verdict: Verdict) -> Document:
    """A verdict with all its checks, and what is proven."""
    decisive = verdict.decisive
    return {
        "verdict": "genuine" if verdict.status is Status.GENUINE else "refused",
        "status": int(verdict.status),
        "reason": None if decisive is None else f"{decisive.name}: {decisive.detail}",
        "assumption": ASSUMPTION,
        "checks": [
            {
                "check": check.name,
                "outcome": check.outcome.value,
                "status": int(check.status),
                "detail": check.detail,
            }
            for check in verdict.checks
        ],
        "quote": None if verdict.quote is None else _quote(verdict.quote),
        "pcrs": None if verdict.values is None else _values(verdict.values),
        "boot": None if verdict.boot is None else boot_document(verdict.boot),
        "rules": [
            {"rule": rule.name, "kept": rule.kept, "detail": rule.detail} for rule in verdict.rules
        ],
    }


def _quote(quote: Quote) -> Document:
    return {
        "nonce": quote.nonce.hex(),
        "selection": [
            {"bank": bank_name(alg), "pcrs": list(indices)} for alg, indices in quote.selection
        ],
        "pcr_digest": quote.pcr_digest.hex(),
        "clock_ms": quote.clock,
        "reset_count": quote.reset_count,
        "restart_count": quote.restart_count,
        "safe": quote.safe,
        "firmware_version": f"0x{quote.firmware_version:016x}",
    }


def _values(values: PcrValues) -> Document:
    return {
        bank_name(alg): {str(index): value.hex() for index, value in sorted(digests.items())}
        for alg, digests in values.items()
    }


def boot_document(boot: Boot) -> Document:
    """What is proven of a boot."""
    state = boot.secure_boot
    return {
        "secure_boot": {
            "enabled": state.enabled,
            "reason": state.reason,
            "db_certs": list(state.db_certs),
            "dbx_hashes": list(state.dbx_hashes),
            "dma_protection": state.dma_protection,
        },
        "firmware_version": boot.firmware_version,
        "boot_apps": None
        if boot.applications is None
        else [each.hex() for each in boot.applications],
        "cmdlines": list(boot.command_lines),
    }


def log_document(log: Log) -> Document:
    """A log alone: its events, the values it makes, and what its own digests cover.

    Nothing proves the digests themselves; that takes a quote.
    """
    strongest = max(log.banks, key=lambda alg: log.banks[alg] if alg in HASHES else 0)
    proven = {event.pcr: strongest for event in log.events if event.measured}
    covered = strongest in HASHES
    return {
        "banks": [bank_name(alg) for alg in log.banks],
        "startup_locality": log.startup_locality,
        "events": [_event(event, strongest if covered else None) for event in log.events],
        "pcrs": _values(_touched(log)),
        "boot": boot_document(boot_facts(log, proven if covered else {})),
        "assumption": "Nothing proves this log: compare it with a quote (`verify quote --log`).",
    }


def _touched(log: Log) -> PcrValues:
    touched = {event.pcr for event in log.events if event.measured}
    return {
        alg: {index: value for index, value in digests.items() if index in touched}
        for alg, digests in replay(log, log.banks).items()
    }


def _event(event: Event, alg: int | None) -> Document:
    digest = "extends nothing"
    if event.measured:
        digest = "unknown" if alg is None else coverage(event, alg).kind.value
    return {
        "number": event.number,
        "pcr": event.pcr,
        "type": type_name(event.type),
        "digests": {bank_name(each): value.hex() for each, value in event.digests.items()},
        "digest": digest,
        "data": describe(event),
    }

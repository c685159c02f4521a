"""Reports of what is wrong with a host, or may become so; part of `schema`."""

from .base import Report


class Finding(Report):
    """What a check has come to.

    `verdict`: "ok", "unknown" (it could not be looked at), "warning" or "bad". `reason` says what
    was seen, `remedy` what to do about it; what is ok needs none.
    """

    check: str
    verdict: str
    reason: str
    remedy: str = ""


class Diagnosis(Report):
    """All findings, in the order of the checks."""

    findings: tuple[Finding, ...]

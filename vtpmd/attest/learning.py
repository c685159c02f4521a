"""Policies learnt from a machine that is known to be good."""

import re
from collections.abc import Iterable
from dataclasses import replace

from vtpmd.tpm.wire.constants import ALG

from .eventlog.boot import boot_facts
from .eventlog.log import Log
from .eventlog.replay import replay
from .policy import Facts
from .policy_text import VERSION


def facts_of_log(log: Log, allow_sha1: bool = False) -> Facts:
    """What a log tells if it is genuine, which nothing says.

    What was started is there with its digests in each bank, since a quote may be of any.
    """
    values = replay(log, [alg for alg in log.banks if allow_sha1 or alg != ALG.SHA1])
    boots = [boot_facts(log, dict.fromkeys(values[alg], alg)) for alg in values]
    if not boots:
        return Facts(values, None, 0)
    applications = tuple(digest for boot in boots for digest in boot.applications or ())
    return Facts(values, replace(boots[-1], applications=applications), 0)


def measured_pcrs(log: Log) -> set[int]:
    """The PCRs that the log has extended."""
    return {event.pcr for event in log.events if event.measured}


def learn(facts: Facts, indices: Iterable[int]) -> dict[str, object]:
    """The policy that this machine, and only what has booted like it, keeps.

    `indices` are the PCRs whose values it demands.
    """
    values = {
        index: [bank[index].hex() for _, bank in sorted(facts.values.items()) if index in bank]
        for index in sorted(indices)
    }
    content: dict[str, object] = {
        "version": VERSION,
        "pcrs": {index: found for index, found in values.items() if found},
    }
    boot = facts.boot
    if boot is None:
        return content
    if boot.secure_boot.enabled is not None:
        rules: dict[str, object] = {"enabled": boot.secure_boot.enabled}
        if boot.secure_boot.db_certs:
            rules["db_certs"] = sorted(set(boot.secure_boot.db_certs))
        content["secure_boot"] = rules
    if boot.applications:
        content["boot_apps"] = [each.hex() for each in dict.fromkeys(boot.applications)]
    if boot.command_lines:
        content["cmdline"] = "|".join(map(_literal, boot.command_lines))
    if boot.firmware_version is not None:
        content["firmware_version"] = [boot.firmware_version]
    return content


def _literal(text: str) -> str:
    """The regular expression of this text, as legible as it can be."""
    return re.sub(r"[][\\.^$*+?{}|()]", r"\\\g<0>", text)

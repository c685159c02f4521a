"""Metrics: what Prometheus scrapes."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime

import trio

from vtpmd import __version__
from vtpmd.api import names
from vtpmd.kms.errors import KeyProviderError
from vtpmd.linux.usage import private_memory
from vtpmd.pki.errors import PkiError
from vtpmd.storage.errors import StorageError
from vtpmd.supervisor.errors import KeyMissingError
from vtpmd.supervisor.fleet import Fleet
from vtpmd.supervisor.instance import Instance
from vtpmd.telemetry.metrics import Gauge

_SLICE = 20
_ASLEEP = "asleep"


async def metrics(fleet: Fleet) -> bytes:
    """All metrics as text. Workers are asked meanwhile how they are, for the next time."""
    states: Counter[str] = Counter(dict.fromkeys((*names.STATES, _ASLEEP), 0))
    handovers: Counter[str] = Counter({names.LENT: 0, names.AWAY: 0})
    processes = []
    in_lockout = 0
    commands: dict[tuple[str, ...], float] = {}
    for number, instance in enumerate(fleet):
        if number % _SLICE == 0:
            await trio.lowlevel.checkpoint()
        states[_ASLEEP if instance.asleep else instance.condition.state] += 1
        if instance.metadata.handover in handovers:
            handovers[instance.metadata.handover] += 1
        if (worker := instance.worker) is not None:
            processes.append(worker.pid)
            in_lockout += worker.lockout
            worker.inquire()
        commands |= _of_instance(instance)
    memory = await trio.to_thread.run_sync(lambda: [private_memory(pid) for pid in processes])
    gauges = [
        Gauge("info", "The version of this daemon.", ("version",), {(__version__,): 1}),
        Gauge("instances", "Instances, by state.", ("state",), _labelled(states)),
        Gauge(
            "instances_handed_over",
            "Instances whose state was read and that may go on elsewhere.",
            ("handover",),
            _labelled(handovers),
        ),
        Gauge(
            "instances_in_lockout",
            "Instances awake whose TPM allows no more tries of authorizations.",
            (),
            {(): in_lockout},
        ),
        Gauge("workers", "Worker processes.", (), {(): len(memory)}),
        Gauge("worker_memory_bytes", "Memory that is the workers' own.", (), {(): sum(memory)}),
        Gauge(
            "worker_memory_largest_bytes",
            "Memory that is the own of the worker with most of it.",
            (),
            {(): max(memory, default=0)},
        ),
        Gauge(
            "certificate_end_timestamp_seconds",
            "When the first certificate of a kind ends.",
            ("certificate",),
            await _certificate_ends(fleet),
        ),
    ]
    if fleet.host.configuration.metrics.per_instance:
        gauges.append(
            Gauge(
                "instance_commands",
                "TPM commands answered since this daemon knows the instance.",
                ("uuid", "name"),
                commands,
            )
        )
    return fleet.host.metrics.exposition(gauges)


def _labelled(counts: Mapping[str, int]) -> dict[tuple[str, ...], float]:
    return {(name,): count for name, count in counts.items()}


def _of_instance(instance: Instance) -> dict[tuple[str, ...], float]:
    labels = str(instance.metadata.uuid), instance.metadata.name
    return {labels: instance.tally.counts.commands}


async def _certificate_ends(fleet: Fleet) -> dict[tuple[str, ...], float]:
    """Of the own authority's certificates, and of those that it has given to TPMs."""
    identities = fleet.host.identities
    ends: dict[tuple[str, ...], float] = {}
    try:
        if (authority := await identities.authority.existing()) is not None:
            *others, root = authority.current
            ends["root",] = root.not_valid_after_utc.timestamp()
            if others:
                ends["issuer",] = min(_end(each.not_valid_after_utc) for each in others)
        present = {instance.metadata.identity for instance in fleet}
        given = (await identities.ledger()).given()
        if of_tpms := [_end(each.not_after) for each in given if each.identity in present]:
            ends["ek",] = min(of_tpms)
    except (PkiError, StorageError, KeyMissingError, KeyProviderError):
        pass  # `vtpmctl ca show` says why
    return ends


def _end(moment: datetime) -> float:
    return moment.timestamp()

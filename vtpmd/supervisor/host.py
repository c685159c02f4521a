"""What all instances of a host share."""

from dataclasses import dataclass, field

import trio

from vtpmd.config.schema import Configuration
from vtpmd.telemetry.metrics import Metrics

from .anchors import Anchors
from .identities import Identities
from .journal import Journal
from .keeper import Keeper
from .keys import Keys
from .registry import Registry
from .zygote import Zygote


@dataclass
class Host:
    """The parts that every operation and every serving works with.

    Without a `keeper` nothing sleeps. `configuration` may be another after a reload.
    """

    configuration: Configuration
    registry: Registry
    keys: Keys
    identities: Identities
    zygote: Zygote
    nursery: trio.Nursery
    anchors: Anchors
    keeper: Keeper | None = None
    metrics: Metrics = field(default_factory=Metrics)
    journal: Journal = field(default_factory=Journal)

"""One instance as its channels see it: every role of its TPM."""

from vtpmd.storage.header import Handover
from vtpmd.storage.sealed import SealedState
from vtpmd.swtpm.host import ChannelSettings
from vtpmd.swtpm.info import describe
from vtpmd.swtpm.table import MAX_LOCALITY
from vtpmd.tpm.engine import Engine

from .execution import Execution, Report
from .measurement import Measurement
from .migration import Migration
from .observer import Observer
from .power import Power


class Instance:
    """Implements `swtpm.host.Host`; `execution` takes the commands of the data channels.

    `observer` is told of each request and its answer.
    """

    def __init__(
        self,
        engine: Engine,
        state: SealedState,
        report: Report,
        *,
        max_locality: int = MAX_LOCALITY,
        auto_shutdown: bool = True,
        handover: Handover = "ours",
        absent: str = "",
        observer: Observer | None = None,
    ) -> None:
        self.settings = ChannelSettings(max_locality=max_locality)
        self.execution = Execution(engine, state, report, handover, absent=absent)
        self.observer = observer
        self.migration = Migration(self.execution)
        self.power = Power(
            self.execution, self.migration, self.settings, auto_shutdown=auto_shutdown
        )
        self.measurement = Measurement(self.execution)

    @property
    def generation(self) -> int:
        return self.execution.state.generation

    def cancel(self) -> None:
        self.execution.cancel()

    def pcr_values(self) -> dict[str, dict[int, bytes]]:
        return self.execution.engine.pcr_values()

    def info(self, mask: int) -> dict[str, object]:
        return describe(self.execution.engine.facts, mask)

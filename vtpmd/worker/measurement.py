"""Events from locality 4 (_TPM_Hash_Start, Data, End) and the established flag."""

from vtpmd.tpm.engine import Reply

from .execution import Execution


class Measurement:
    """Implements `swtpm.host.Measurement`."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution

    @property
    def established(self) -> bool:
        return self._execution.engine.established

    def reset_established(self, locality: int) -> bool:
        return self._execution.engine.reset_established(locality)

    def hash_start(self) -> None:
        self._execution.demand_possession()
        self._settle(self._execution.engine.hash_start())

    def hash_data(self, data: bytes) -> None:
        self._execution.demand_possession()
        self._execution.engine.hash_data(data)

    def hash_end(self) -> None:
        self._execution.demand_possession()
        self._settle(self._execution.engine.hash_end())

    def _settle(self, reply: Reply) -> None:
        self._execution.settle_now(reply)
        self._execution.demand_possession()

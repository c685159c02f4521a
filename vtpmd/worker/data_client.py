"""A data connection: TPM commands from QEMU's data descriptor or a client of the data listener."""

import socket
from collections.abc import Callable
from typing import Protocol

from vtpmd.swtpm.data import DataParser, DataRequest, refusal, settle
from vtpmd.swtpm.host import ChannelSettings
from vtpmd.swtpm.table import Turn
from vtpmd.tpm.rc import RC

from .client import Client, Turns
from .instance import Instance


class LongCommands(Turns, Protocol):
    """Runs what takes long on the side thread."""

    def run(
        self,
        client: "DataClient",
        command: bytes,
        locality: int,
        respond: Callable[[bytes], None],
    ) -> None: ...


class DataClient(Client[DataRequest]):
    """An incomplete command is refused and forgotten, but the connection stays: QEMU has no other.

    `set_locality` permits the vendor command; with `disconnect` the connection ends with its first
    response.
    """

    def __init__(
        self,
        sock: socket.socket,
        heard: float,
        long_commands: LongCommands,
        instance: Instance,
        *,
        set_locality: bool = False,
        disconnect: bool = False,
    ) -> None:
        super().__init__(sock, heard, long_commands, instance.execution.note_defect)
        self._long_commands = long_commands
        self._instance = instance
        self._set_locality = set_locality
        self._disconnect = disconnect
        self._parser = DataParser()

    @property
    def partial(self) -> bool:
        return self._parser.partial

    @property
    def _settings(self) -> ChannelSettings:
        return self._instance.settings

    def parse(self, data: bytes, fds: list[int]) -> None:
        self.pending.extend(self._parser.feed(data, self._settings.buffer_size))

    def turn(self, request: DataRequest) -> Turn:
        return Turn.AFTER

    def handle(self, request: DataRequest) -> None:
        settled = settle(
            request,
            running=self._instance.power.running,
            set_locality=self._set_locality,
            max_locality=self._settings.max_locality,
        )
        if settled.locality is not None:
            self._settings.locality = settled.locality
        execution, locality = self._instance.execution, self._settings.locality
        response = settled.response or execution.prepare()
        if response is not None:
            self._respond(request, response)
        elif execution.is_long(request.command):
            self._long_commands.run(
                self, request.command, locality, lambda response: self._respond(request, response)
            )
        else:
            self._respond(request, execution.settle(execution.run(request.command, locality)))

    def failure(self, request: DataRequest) -> bytes:
        return request.frame(refusal(RC.FAILURE))

    def give_up(self) -> None:
        self.pending.extend(self._parser.expire())

    def _respond(self, request: DataRequest, response: bytes) -> None:
        """Answer a command; one that has run aside may find its client gone."""
        if not self.closed:
            self.send(request.frame(response))
            self.closing = self.closing or self._disconnect

"""A data connection: TPM commands from QEMU's data descriptor or a client of the data listener."""

import socket
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Protocol

from vtpmd.swtpm.data import (
    DataParser,
    DataRequest,
    bounded,
    code_if_whole,
    code_of,
    judge,
    vendor_set_locality,
)
from vtpmd.swtpm.host import Connection
from vtpmd.swtpm.table import Turn
from vtpmd.tpm.engine import LONG_COMMANDS, RC, Reply, refusal

from .client import Client, Turns
from .drops import ClientDrops
from .execution import UnstoredError
from .instance import Instance
from .observer import Observer, why_failed

_AFTER = Turn.AFTER  # looking up a member of an Enum takes 0.1 µs in Python 3.11


class LongCommands(Turns, Protocol):
    """Runs what takes long on the side thread."""

    def run(
        self,
        client: "DataClient",
        command: bytes,
        locality: int,
        respond: Callable[[bytes], None],
    ) -> None: ...

    def withhold(
        self,
        client: "DataClient",
        command: bytes,
        unstored: Reply,
        respond: Callable[[bytes], None],
    ) -> None: ...


@dataclass(frozen=True)
class Dialect:
    """What a data connection understands besides TPM commands, and when it ends.

    `extensions`: the TCG form and the vendor command for localities, which `set_locality` permits;
    `disconnect`: it ends with its first response.
    """

    extensions: bool
    set_locality: bool = False
    disconnect: bool = False


class DataClient(Client[DataRequest]):
    """One command at a time: what comes behind it before its answer is dropped, not queued.

    `connection`: that of the control client that attached this descriptor, if one did.

    An incomplete command is refused and forgotten, but the connection stays: QEMU has no other.
    """

    def __init__(
        self,
        sock: socket.socket,
        heard: float,
        long_commands: LongCommands,
        instance: Instance,
        dialect: Dialect,
        drops: ClientDrops,
        connection: Connection | None = None,
        observer: Observer | None = None,
    ) -> None:
        super().__init__(sock, heard, long_commands, instance.execution.note_defect)
        self._long_commands = long_commands
        self._execution = instance.execution
        self._settings = instance.settings
        self._power = instance.power
        self._dialect = dialect
        self._bare = not (dialect.extensions or dialect.disconnect)
        self._drops = drops
        self.connection = connection
        self._observer = observer
        self._tally = instance.execution.tally
        self._begun = 0
        self._parser = DataParser(tcg_form=dialect.extensions)
        self._running_aside = False

    def ready(self, now: float) -> bool:
        """As in `Client`, with a short way for the usual: one whole command, answered at once."""
        if self.outgoing or self._parser.unfinished:
            return super().ready(now)
        data = self.receive_octets()
        if data is None:
            return True
        limit = self._settings.buffer_size
        execution = self._execution
        code = code_if_whole(data, limit) if self._bare else None
        if not (
            code is not None
            and code not in LONG_COMMANDS
            and execution.engine.running
            and self._turns.free_for(_AFTER)
        ):
            self.hear(data, [], now)
            self.pump()
            return False
        self.last_heard = now
        self._begun = perf_counter_ns()
        try:
            response = execution.execute(data, self._settings.locality, self.connection)
        except UnstoredError as unstored:
            self._withhold(unstored.reply, DataRequest(data))
            return False
        except Exception as error:  # as in `attempt`
            self._note_defect(error)
            response = refusal(RC.FAILURE)
        self._tally.add(response, perf_counter_ns() - self._begun)
        if self._observer is not None:
            self._observe(data, self._settings.locality, response)
        if self._poll(0):  # `has_sent`
            self._drop_unread()
        self.send(response if len(response) <= limit else bounded(response, limit))
        return not (self.outgoing or self.closed)

    @property
    def partial(self) -> bool:
        return bool(self._parser.unfinished)

    @property
    def events(self) -> int:
        return 0 if self._running_aside else super().events

    def parse(self, data: bytes, fds: list[int]) -> None:
        self._take(self._parser.feed(data, self._settings.buffer_size))

    def turn(self, request: DataRequest) -> Turn:
        return Turn.AT_ONCE if request.error is not None else Turn.AFTER

    def handle(self, request: DataRequest) -> None:
        self._begun = perf_counter_ns()
        response = self._answer_without_tpm(request)
        if response is not None:
            self._respond(request, response)
            return
        execution, locality = self._execution, self._settings.locality
        if request.tcg_locality is not None:
            locality = request.tcg_locality
        if code_of(request.command) in LONG_COMMANDS:
            self._running_aside = True
            self._long_commands.run(
                self, request.command, locality, lambda response: self._respond(request, response)
            )
        else:
            try:
                response = execution.settle(execution.run(request.command, locality))
            except UnstoredError as unstored:
                self._withhold(unstored.reply, request)
            else:
                self._respond(request, response)

    def _withhold(self, unstored: Reply, request: DataRequest) -> None:
        self._running_aside = True
        self._long_commands.withhold(
            self, request.command, unstored, lambda response: self._respond(request, response)
        )

    def fail(self, request: DataRequest) -> None:
        self._respond(request, refusal(RC.FAILURE))

    def give_up(self) -> None:
        self._take(self._parser.expire())

    def flush(self) -> None:
        self._drop_unread()
        super().flush()

    def _take(self, request: DataRequest | None) -> None:
        if request is not None:
            self.pending.append(request)

    def _answer_without_tpm(self, request: DataRequest) -> bytes | None:
        settings = self._settings
        if self._dialect.extensions and request.error is None:
            vendor = vendor_set_locality(
                request.command,
                permitted=self._dialect.set_locality,
                max_locality=settings.max_locality,
            )
            if vendor is not None:
                if vendor.locality is not None:
                    settings.locality = vendor.locality
                return vendor.response
        refused = judge(request, self._power.running, settings.max_locality)
        return refused or self._execution.prepare(request.command, self.connection)

    def _respond(self, request: DataRequest, response: bytes) -> None:
        """Answer a command; after one that ran on the side thread the client may be gone."""
        self._running_aside = False
        self._tally.add(response, perf_counter_ns() - self._begun)
        if self.closed:
            return
        if self._observer is not None:
            locality = request.tcg_locality
            self._observe(
                request.command, self._settings.locality if locality is None else locality, response
            )
        self._drop_unread()
        self.send(request.frame(bounded(response, self._settings.buffer_size)))
        self.closing = self.closing or self._dialect.disconnect

    def _observe(self, command: bytes, locality: int, response: bytes) -> None:
        assert self._observer is not None
        code = int.from_bytes(response[6:10])
        why = why_failed(self._execution, command) if code == RC.FAILURE else ""
        self._observer.executed(command[6:10], locality, code, why)

    def _drop_unread(self) -> None:
        """A conforming client has sent nothing: its answer is not out."""
        dropped = self._parser.dropped + self.drop_unread()
        if dropped:
            self._parser.dropped = 0
            self._drops.octets(dropped)

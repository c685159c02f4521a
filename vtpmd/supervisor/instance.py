"""One instance: started, watched, tried again, stopped. Its failures concern nobody else."""

import contextlib
import math
from collections.abc import AsyncIterator
from dataclasses import replace

import trio

from vtpmd.api import names, problems
from vtpmd.api.problems import OperationError
from vtpmd.ipc.messages import Event, Pcrs, ReadPcrs, Status, StatusReply
from vtpmd.storage.wipe import wipe
from vtpmd.telemetry.audit import acting_alone
from vtpmd.telemetry.log import get_logger

from .backoff import Backoff
from .endpoints import Endpoints
from .launch import Host, NotServed, refusals, serve
from .metadata import Metadata
from .registry import Entry
from .states import Condition, Trigger
from .worker import Worker, WorkerEnded, WorkerFailed, attach

STOP_GRACE = 10.0
MAX_CRASHES = 5
READY = "ready: QEMU can connect"
POWERED_OFF = "its TPM is off until QEMU connects again or the instance is stopped and started"

# Events that tell of something a person should look at.
ALARMS = frozenset({"storage-full", "storage-failing", "failure-mode", "defect"})

log = get_logger("instance")


class Instance:
    """One instance of the registry and the task that serves it."""

    def __init__(self, entry: Entry, host: Host) -> None:
        self.metadata: Metadata = entry.metadata
        self.condition = Condition(names.STOPPED, "not started yet")
        if entry.fault is not None:
            self.condition = Condition(names.FAILED, entry.fault)
        self.endpoints = Endpoints(
            host.configuration,
            self.metadata.name,
            self.metadata.uuid,
            self.metadata.data_socket,
        )
        self.fault = entry.fault
        self._host = host
        self._log = log.bind(instance=self.metadata.name, uuid=str(self.metadata.uuid))
        self._busy = trio.Lock()
        self._worker: Worker | None = None
        self._problem = problems.INTERNAL
        self._scope: trio.CancelScope | None = None
        self._settled = trio.Event()
        self._retry = trio.Event()
        self._finished = trio.Event()
        self._stopping = False
        self._gone: str | None = None  # what became of it
        self._lost: str | None = None  # how its TPM has lost its power, which nobody switched off
        self._pauses = {
            Trigger.KEY_UNAVAILABLE: Backoff(1.0, 60.0),
            Trigger.REFUSED: Backoff(0.5, 30.0, MAX_CRASHES),
            Trigger.CRASHED: Backoff(0.5, 30.0, MAX_CRASHES),
        }

    async def start(self) -> None:
        """Serve the instance; nothing happens when it is served. Raises OperationError."""
        async with self._busy:
            self.demand_sound()
            await self.note(autostart=True)
            if self.condition.state != names.RUNNING:
                await self._try_now()

    async def unlock(self) -> None:
        """Try now to get the key of a locked instance, and serve it if that is wanted.

        Nothing happens in another state. Raises OperationError when it stays locked.
        """
        async with self._busy:
            self._demand_there()
            if self.condition.state != names.LOCKED:
                return
            if self._scope is not None:
                await self._try_now()
                return
            uuid = self.metadata.uuid
            try:
                with refusals():
                    envelope = await trio.to_thread.run_sync(self._host.registry.envelope, uuid)
                    wipe(await self._host.keys.unlock(envelope, uuid))
            except OperationError as refused:
                if refused.problem is problems.KEY_UNAVAILABLE:
                    self.lock(refused.detail)
                raise
            self._become(Trigger.UNLOCKED, "its key is there again; not started")

    def lock(self, reason: str) -> None:
        """It could not be served now, as its key is missing."""
        self._become(Trigger.KEY_UNAVAILABLE, reason)

    async def _try_now(self) -> None:
        settled = self._settled = trio.Event()
        if self._scope is None:
            if not await self.adopt():
                self._lost = None
                self.launch()
        else:
            self._retry.set()
        await settled.wait()
        if self.condition.state != names.RUNNING:
            raise OperationError(self._problem, self.condition.reason)

    @contextlib.asynccontextmanager
    async def at_rest(self) -> AsyncIterator[Worker | None]:
        """Keep it as it is, served by the yielded worker or not at all. Raises OperationError."""
        async with self._busy:
            self.demand_sound()
            if self._scope is not None and self._worker is None:
                locked = self.condition.state == names.LOCKED
                problem = problems.KEY_UNAVAILABLE if locked else problems.UNAVAILABLE
                raise OperationError(
                    problem,
                    f"{self.metadata.name} is {self.condition.state}: {self.condition.reason}.",
                )
            yield self._worker

    def demand_sound(self) -> None:
        """Raise OperationError if it is gone, or cannot be served whatever one does."""
        self._demand_there()
        if self.fault is not None:
            raise OperationError(problems.STATE_REFUSED, f"{self.fault}.")

    def _demand_there(self) -> None:
        if self._gone is not None:
            raise OperationError(problems.NOT_FOUND, f"{self.metadata.name} was {self._gone}.")

    async def adopt(self) -> bool:
        """Be served on by a worker that outlived its daemon; whether there is one."""
        path = self.endpoints.reattach
        if not path.exists():
            return False
        try:
            worker = await attach(path, self.on_event)
        except WorkerEnded as error:
            self._log.warning("worker-gone", reason=str(error))
            self._lost = f"its worker ended while no daemon was there; {POWERED_OFF}"
            return False
        self._log.info("reattached", pid=worker.pid)
        self.launch(worker)
        return True

    def launch(self, adopted: Worker | None = None) -> None:
        """Begin to serve, by the `adopted` worker if there is one."""
        if adopted is not None:
            self._host.nursery.start_soon(adopted.run)
        self._stopping = False
        self._finished = trio.Event()
        self._scope = trio.CancelScope()
        self._host.nursery.start_soon(self._serve, self._scope, adopted)

    async def stop(self, remember: bool, reason: str) -> None:
        """Serve the instance no longer; nothing happens when it is stopped."""
        async with self._busy:
            self._demand_there()
            if remember and self.fault is None:
                await self.note(autostart=False)
            await self._end(reason)
            self._lost = None
            if self.condition.state != names.STOPPED:
                self._become(Trigger.STOP, reason)
            if self.fault is not None:
                self._become(Trigger.REFUSED, self.fault)

    @contextlib.asynccontextmanager
    async def retired(self, fate: str) -> AsyncIterator[None]:
        """Serve it no longer, and never again if all goes well inside.

        `fate` is what becomes of it. Raises OperationError while it is running, or if it is gone.
        """
        async with self._busy:
            self._demand_there()
            if self.condition.state == names.RUNNING:
                raise OperationError(
                    problems.RUNNING_CONFLICT, f"{self.metadata.name} is running and is not {fate}."
                )
            await self._end(f"it is {fate}")
            yield
            self._gone = fate

    async def status(self) -> tuple[int, StatusReply] | None:
        """The worker's process id and what it says of itself; None if no worker answers."""
        if (worker := self._worker) is None:
            return None
        try:
            return worker.pid, await worker.ask(Status(), StatusReply)
        except (WorkerEnded, WorkerFailed):
            return None

    async def pcrs(self) -> Pcrs:
        """The PCR values of the running TPM. Raises OperationError."""
        if self._worker is None:
            raise OperationError(
                problems.NOT_RUNNING,
                f"{self.metadata.name} is {self.condition.state}: {self.condition.reason}.",
            )
        try:
            return await self._worker.ask(ReadPcrs(), Pcrs)
        except (WorkerEnded, WorkerFailed) as error:
            raise OperationError(problems.INTERNAL, str(error)) from None

    def on_event(self, event: Event) -> None:
        """Log what a worker reports."""
        write = self._log.error if event.kind in ALARMS else self._log.info
        write("worker-event", kind=event.kind, detail=event.detail)

    async def note(self, **changes: object) -> None:
        """Change the metadata, durably. Raises StorageError."""
        metadata = replace(self.metadata, **changes)  # type: ignore[arg-type]
        if metadata != self.metadata:
            await trio.to_thread.run_sync(self._host.registry.update, metadata)
            self.metadata = metadata

    async def _end(self, reason: str) -> None:
        scope, worker = self._scope, self._worker
        if scope is None:
            return
        self._stopping = True
        if worker is None:
            scope.cancel()
        else:
            try:
                await worker.stop(reason)
            except (WorkerEnded, WorkerFailed) as error:
                self._log.warning("stop-unanswered", reason=str(error))
            with trio.move_on_after(STOP_GRACE):
                await self._finished.wait()
            if not self._finished.is_set():
                worker.kill()
        await self._finished.wait()

    def _become(self, trigger: Trigger, reason: str) -> None:
        self.condition = self.condition.after(trigger, reason)
        self._log.info("state", state=self.condition.state, reason=reason)

    async def _serve(self, scope: trio.CancelScope, adopted: Worker | None) -> None:
        acting_alone()  # also when an administrator's request began it
        try:
            with scope:
                await self._attempts(adopted)
            self.endpoints.remove()
        except Exception:
            self._log.exception("defect")
            running = self.condition.state == names.RUNNING
            trigger = Trigger.CRASHED if running else Trigger.REFUSED
            self._fail(NotServed(trigger, problems.INTERNAL, "internal error, see the log"))
        finally:
            self.endpoints.let_go()
            self._scope = None
            self._settled.set()
            self._finished.set()

    async def _attempts(self, worker: Worker | None) -> None:
        """Serve until stopped, or until another attempt makes no sense."""
        reason = (worker and worker.strange) or "served on by a worker that outlived its daemon"
        while True:
            try:
                if worker is None:
                    # Tools on the data socket send no INIT: they expect a TPM that is on. One that
                    # has lost its power stays off, so that no empty PCRs pass for those there were.
                    startup = self.metadata.data_socket and self._lost is None
                    reason = READY if self._lost is None else f"restarted: {self._lost}"
                    worker = await serve(
                        self._host, self.metadata, self.endpoints, startup, self.on_event
                    )
                await self._attend(worker, reason)
                if self._stopping:
                    return
                self._lost = f"its worker (process {worker.pid}) ended unexpectedly; {POWERED_OFF}"
                again = self.fault is None
                raise NotServed(Trigger.CRASHED, problems.INTERNAL, self._lost, again)
            except NotServed as failure:
                worker = None
                delay = self._pauses[failure.trigger].next() if failure.again else None
                self._fail(failure, _outlook(failure, delay))
                if failure.trigger is Trigger.KEY_UNAVAILABLE:
                    self.endpoints.turn_away(self._host.nursery, self._on_turned_away)
                elif delay is None:
                    return
            with trio.move_on_after(math.inf if delay is None else delay):
                await self._retry.wait()
            self._retry = trio.Event()

    def _on_turned_away(self) -> None:
        self._log.warning("client-turned-away", reason=self.condition.reason)

    def _fail(self, failure: NotServed, outlook: str = "") -> None:
        self._problem = failure.problem
        self._become(failure.trigger, failure.reason + outlook)
        self._settled.set()

    async def _attend(self, worker: Worker, reason: str) -> None:
        """Stay with a serving worker until it ends."""
        self._worker = worker
        self._become(Trigger.READY, reason)
        self._settled.set()
        try:
            await worker.ended()
        finally:
            self._worker = None
            worker.close()


def _outlook(failure: NotServed, delay: float | None) -> str:
    """What comes next, for the end of a reason."""
    if delay is not None:
        return f"; next attempt in {delay:.1f} s"
    if not failure.again:
        return ""
    return f"; tried again {MAX_CRASHES} times lately, so now it is left alone: see the log"

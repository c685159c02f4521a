"""One instance: started, watched, tried again, stopped. Its failures do not affect the others."""

import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from functools import partial
from typing import get_args

import trio

from vtpmd.api import names, problems
from vtpmd.api.problems import OperationError
from vtpmd.ipc.events import USES
from vtpmd.ipc.identity import Installed
from vtpmd.ipc.messages import HAND_OVERS, STORAGE, Event, Pcrs, StatusReply
from vtpmd.storage.errors import StorageError
from vtpmd.storage.header import Handover

from . import lazily, questions, use
from .access import Access, Grant, check_access, granted
from .arrival import CAME, arrived, refusal
from .endpoints import Endpoints
from .errors import EndpointError
from .events import EventLog
from .happenings import note_event, note_state
from .host import Host
from .instance_log import log_of, tell_state
from .launch import admit, try_key
from .metadata import Metadata
from .outliving import outliving
from .reasons import ADOPTED
from .refusals import refusals, side_by_side
from .registry import Entry
from .release import demand_free
from .serving import Serving
from .states import SERVED, Act, Cause, Condition, Standing
from .tally import Tally
from .wakefulness import stay_awake
from .watch import look_after
from .worker import Worker


class Instance:
    """One instance of the registry, its state, and what serves it now."""

    def __init__(self, entry: Entry, host: Host) -> None:
        self.metadata: Metadata = entry.metadata
        former = entry.former
        self._noted = former
        self._ran: Condition | None = None  # under the last daemon
        if former is not None and former.state in SERVED:
            self._ran, former = former, None
        self.condition = former or Condition(names.STOPPED, "not started yet")
        if entry.fault is not None:
            self.condition = Condition(names.FAILED, entry.fault)
        self.endpoints = Endpoints.of(host.configuration, self.metadata)
        self.fault = entry.fault
        self._host = host
        self.tally = Tally(host.metrics, self.metadata.profile)
        self._events: EventLog | None = None  # made with the first: few workers report anything
        self._busy = lazily.Lock()
        self._serving: Serving | None = None
        self._gone: Act | None = None  # what became of it

    @property
    def reason(self) -> str:
        """Why it is in its state, who uses it, and what is wrong, for people."""
        trouble = "" if self.worker is None else self.worker.trouble
        return use.told(self.condition, self.machine, self.asleep, trouble)

    @property
    def machine(self) -> int:
        """The process that uses its TPM, as its worker said last; 0: none is known."""
        return 0 if self._serving is None else self._serving.user

    def look(self) -> float:
        """Look after the worker; when that has to be done again, on trio's clock."""
        self.tally.take(self.worker)
        return look_after(self.worker, self.metadata, lambda: self.reason)

    def demand(self, act: Act) -> None:
        """Raise OperationError unless the state permits this act."""
        attempting = self._serving is not None and self.worker is None and not self.asleep
        known = self._gone, self.fault, attempting, self.metadata.incoming, self.metadata.handover
        Standing(self.condition, *known, self.machine).demand(act, self.metadata.name)

    async def open(self) -> bool:
        """Resume after a restart of the daemon: adopt the living worker, or start it if it ran.

        Returns whether the instance is served, or an attempt has begun.
        """
        if self._host.keeper is not None and await self._host.keeper.has(self.metadata.uuid):
            self._serve(None, asleep=True)
            return True
        worker, lost = await self._outliving()
        if worker is None and not self.metadata.autostart:
            return False
        self._serve(worker, lost)
        return True

    async def start(self) -> None:
        """Start to serve the instance, unless it is served. Raises OperationError."""
        async with self._busy:
            self.demand(Act.START)
            if self.condition.state in SERVED:
                await self.note(autostart=True)
            else:
                await self._start()

    async def _start(self) -> None:
        """Serve it, and note meanwhile that it is to be served. Raises as `start`."""
        refused = await side_by_side(partial(self.note, autostart=True), self._try_now)
        if refused and self.condition.state in SERVED:
            await self._end("it cannot be noted that it is to be served")
            self._become(Cause.STOP, f"not started: {refused[0]}")
        if refused:
            raise refused[0]

    async def unlock(self) -> None:
        """Try now to get the key of a locked instance, and serve it if that is wanted.

        Nothing happens in another state. Raises OperationError when it stays locked.
        """
        async with self._busy:
            self.demand(Act.UNLOCK)
            if self.condition.state != names.LOCKED:
                return
            if self._serving is not None:
                await self._try_now()
                return
            try:
                with refusals():
                    await try_key(self._host, self.metadata.uuid)
            except OperationError as refused:
                if refused.problem is problems.KEY_UNAVAILABLE:
                    self.lock(refused.detail)
                raise
            self._become(Cause.UNLOCKED, "its key is there again; not started")

    def lock(self, reason: str) -> None:
        """Note that its key is missing."""
        self._become(Cause.KEY_UNAVAILABLE, reason)

    async def stop(self, remember: bool, reason: str, force: bool = False) -> None:
        """Stop serving the instance, unless it is stopped or used. Raises OperationError.

        With `force` whoever uses it loses its TPM, and nobody is waited for: neither QEMU nor what
        else goes on with the instance, and the worker not long.
        """
        if force:
            await self._end(reason, force)
        async with self._busy:
            if not force:
                await self._wake()  # who is behind what sleeps only a worker can say
                await use.look(self.worker, self.metadata)
            self.demand(Act.END if force else Act.STOP)
            if remember and self.fault is None:
                await self.note(autostart=False)
            await self._end(reason)
            await demand_free(self._host.registry, self.metadata.uuid, self.endpoints.adoption)
            if self.condition.state != names.STOPPED:
                self._become(Cause.STOP, reason)
            if self.fault is not None:
                self._become(Cause.REFUSED, self.fault)

    @contextlib.asynccontextmanager
    async def at_rest(self, act: Act) -> AsyncIterator[Worker | None]:
        """Block start and stop inside; yields the worker or None. Raises OperationError."""
        async with self._busy:
            self.demand(act)
            await self._wake()
            yield self.worker

    async def _wake(self) -> None:
        """Have a worker serve it that does not sleep soon, if one is to. Raises OperationError."""
        if self._serving is not None:
            with refusals():
                await stay_awake(self._serving, self._granted())

    @property
    def asleep(self) -> bool:
        """Whether it is served, and no worker is needed for that just now."""
        return self._serving is not None and self._serving.asleep

    @contextlib.contextmanager
    def if_idle(self) -> Iterator[bool]:
        """Whether nothing goes on with the instance: then nothing begins inside."""
        try:
            self._busy.acquire_nowait()
        except trio.WouldBlock:
            yield False
            return
        try:
            yield True
        finally:
            self._busy.release()

    @contextlib.asynccontextmanager
    async def retired(self, act: Act) -> AsyncIterator[None]:
        """Stop serving it, for good if the body succeeds. Raises OperationError."""
        async with self._busy:
            self.demand(act)
            await self._end(f"it is {act.value}")
            yield
            self._gone = act

    async def upgrade(self) -> tuple[int, float]:
        """Have a fresh worker serve it: its process id, and for how many seconds nobody did.

        Raises OperationError, and as `Serving.replace`.
        """
        async with self._busy:
            self.demand(Act.UPGRADE)
            await self._wake()
            assert self._serving is not None  # it runs
            return await self._serving.replace()

    async def status(self) -> tuple[int, StatusReply] | None:
        """The worker's process id and its report, which says nothing if it is silent, or None."""
        return await questions.status(self.worker, self.metadata)

    async def installed(self) -> Installed | None:
        """What the worker says of certificates in NV, or None if no worker answers."""
        return await questions.installed(self.worker)

    async def pcrs(self) -> Pcrs:
        """The PCR values of the running TPM. Raises OperationError."""
        self.demand(Act.READ_PCRS)
        await self._wake()
        return await questions.pcrs(self.worker)

    async def note(self, **changes: object) -> None:
        """Change the metadata, durably. Raises StorageError."""
        metadata = replace(self.metadata, **changes)  # type: ignore[arg-type]
        if metadata != self.metadata:
            await trio.to_thread.run_sync(self._host.registry.update, metadata)
            self.metadata = metadata
            if self._serving is not None:
                self._serving.metadata = metadata
            elif not changes.keys().isdisjoint(("name", "data_socket")):
                self.endpoints = Endpoints.of(self._host.configuration, metadata)
                self._events = None

    @property
    def access(self) -> Access:
        """Who may connect to its sockets."""
        return Access.of(self._host.configuration.sockets, self.metadata)

    async def set(self, **changes: object) -> None:
        """Change settings, also of sockets and worker that are there. Raises OperationError."""
        async with self._busy:
            self.demand(Act.SET)
            await self._wake()
            worker = self.worker
            if worker is not None and worker.strange is not None:
                raise OperationError(problems.UNAVAILABLE, f"{worker.strange}.")
            check_access(self._host.configuration.sockets, replace(self.metadata, **changes))  # type: ignore[arg-type]
            before = self.metadata
            await self.note(**changes)
            if self._serving is None:
                return
            try:
                self.endpoints.grant(self._granted())
            except (EndpointError, OSError):
                await self.note(**vars(before))
                with contextlib.suppress(EndpointError, OSError):
                    self.endpoints.grant(self._granted())
                raise
            if (worker := self.worker) is not None:
                await admit(worker, self._granted())

    def _granted(self) -> Grant:
        return granted(self._host.configuration.sockets, self.metadata)

    @property
    def worker(self) -> Worker | None:
        """What serves it, None while nothing does or it sleeps."""
        return None if self._serving is None else self._serving.worker

    async def _outliving(self) -> tuple[Worker | None, str | None]:
        """The worker that outlived the previous daemon, or how the TPM lost its power."""
        worker, lost = await outliving(self._host, self.metadata, self.endpoints, self._on_event)
        incoming = None if self._ran is None else self._ran.state == names.INCOMING
        if worker is not None and incoming is not worker.incoming:
            self._ran = None  # its TPM has come meanwhile
        return worker, lost

    async def _try_now(self) -> None:
        if (serving := self._serving) is None:
            worker, _ = await self._outliving()
            serving = self._serve(worker)
            await serving.settled()
        else:
            await serving.try_now()
        if self.condition.state not in SERVED:
            raise OperationError(serving.problem, self.condition.reason)

    def _serve(
        self, adopted: Worker | None, lost: str | None = None, *, asleep: bool = False
    ) -> Serving:
        """Begin to serve, by the `adopted` worker if there is one, or not before it is woken."""
        if adopted is not None:
            self._host.nursery.start_soon(adopted.run)
            self._host.nursery.start_soon(self._look_at_hand_over)
        serving = self._serving = Serving(
            self._host,
            self.metadata,
            self._granted,
            self.endpoints,
            self._on_event,
            self._become,
            lost=lost,
            adopted=ADOPTED if self._ran is None else self._ran.reason,
            restart=self.fault is None,
        )
        self._host.nursery.start_soon(self._run, serving, adopted, asleep)
        return serving

    async def _run(self, serving: Serving, adopted: Worker | None, asleep: bool) -> None:
        try:
            await serving.run(adopted, asleep)
        finally:
            self._serving = None

    def _on_event(self, pid: int, event: Event) -> bool:
        if self._events is None:
            bound = log_of(self.metadata, component="worker")
            self._events = EventLog(self._host.nursery, bound)
        admitted = self._events.write(pid, event)
        if admitted:
            note_event(self._host, self.metadata, event)
        if self._host.keeper is not None:
            self._host.keeper.offers.heed(self.metadata.uuid, event.kind)
        if admitted and event.kind in STORAGE | USES and (worker := self.worker) is not None:
            worker.inquire()
        if admitted and event.kind in HAND_OVERS:
            self._host.nursery.start_soon(self._look_at_hand_over)
        if admitted and self.condition.state == names.INCOMING and (reason := refusal(event)):
            self._become(Cause.AWAITED, reason)
        return admitted

    async def _look_at_hand_over(self) -> None:
        """Remember the state of hand-over, what came, and the newest state, as they are now."""
        async with self._busy:
            if self._gone is None and (answer := await self.status()) is not None:
                await self.note_hand_over(answer[1].handover, answer[1].generation)
                came = await arrived(self._host.registry, self.metadata, answer[1], self.note)
                if came and self.condition.state == names.INCOMING:
                    self._become(Cause.READY, CAME)
        await self.note_newest()

    async def note_newest(self) -> None:
        """Note the stored state as the newest one that was seen."""
        if self._gone is None and self.fault is None and not self.metadata.incoming:
            await trio.to_thread.run_sync(self._host.anchors.note, self.metadata.uuid)

    async def note_hand_over(self, handover: str, generation: int) -> None:
        """Remember whose the TPM is, from this generation of its state on."""
        if handover in get_args(Handover) and not self.metadata.remembers(handover, generation):
            try:
                await self.note(handover=handover, handover_generation=generation)
            except StorageError as error:
                log_of(self.metadata).warning(
                    "hand-over-not-noted", handover=handover, reason=str(error)
                )

    async def _end(self, reason: str, force: bool = False) -> None:
        if (serving := self._serving) is not None:
            with refusals():
                await serving.wake()
            await serving.end(reason, force)

    def _become(self, cause: Cause, reason: str) -> None:
        self.condition = self.condition.after(cause, reason)
        if self._ran is not None and reason == self._ran.reason and self.condition.state in SERVED:
            self.condition = self._ran  # nothing has happened to it meanwhile
        if self._ran is not None and cause is Cause.ASLEEP:
            self.condition = replace(self._ran, reason=reason)
        self._ran = None
        if cause is Cause.READY and self.metadata.incoming:
            self._host.nursery.start_soon(self._look_at_hand_over)
        tell_state(log_of(self.metadata), self.condition)
        note_state(self._host, self.metadata, self.condition, cause)
        self._host.nursery.start_soon(self._note_condition)

    async def _note_condition(self) -> None:
        """Write the present state down, once nothing else goes on with the instance."""
        async with self._busy:
            condition = self.condition
            if condition == self._noted or self._gone is not None or self.fault is not None:
                return
            note = self._host.registry.note_condition
            try:
                await trio.to_thread.run_sync(note, self.metadata.uuid, condition)
                self._noted = condition
            except StorageError as error:
                log_of(self.metadata).warning("condition-not-noted", reason=str(error))

"""One serving of an instance: from its start until it is stopped or given up."""

import math
from collections.abc import Callable
from contextlib import suppress

import trio

from vtpmd.api import problems
from vtpmd.api.problems import OperationError
from vtpmd.api.text import printable
from vtpmd.ipc.messages import Event
from vtpmd.telemetry.audit import acting_alone

from . import lazily, lease
from .access import Grant
from .endpoints import Endpoints
from .errors import KeeperLostError, WorkerEndedError, WorkerFailedError, WorkerSilentError
from .events import OnEvent
from .host import Host
from .instance_log import log_of
from .launch import renew_access, serve
from .metadata import Metadata
from .old_keys import OldKeys
from .pauses import Pauses
from .reasons import ADOPTED, AWAITING, POWERED_OFF, READY, SLEEPS
from .refusals import NotServedError
from .states import Cause
from .succession import revive, succeed
from .worker import KILL_GRACE, Worker

STOP_GRACE = 1.5  # seconds after which a worker that is asked to stop is killed
SUCCESSION_GRACE = 2.0  # seconds within which a worker that gave way has ended
MAX_DAMAGE = 300  # characters of what a worker says of damaged state
WAKE_TIMEOUT = 30.0


class Serving:
    """The workers that serve an instance one after the other, and what happens between them.

    `granted` says who may connect now. `on_event` is told what the workers report, `become` each
    cause and reason of a new state. `lost`: how the TPM lost its power earlier without being
    switched off. `adopted`: what is said of a worker that outlived its daemon. Without `restart` a
    worker that crashed is not replaced.
    """

    def __init__(
        self,
        host: Host,
        metadata: Metadata,
        granted: Callable[[], Grant],
        endpoints: Endpoints,
        on_event: OnEvent,
        become: Callable[[Cause, str], None],
        *,
        lost: str | None = None,
        adopted: str = ADOPTED,
        restart: bool = True,
    ) -> None:
        self.worker: Worker | None = None
        self.asleep = False
        self._machine = 0  # who used the TPM when its last worker ended
        self.problem = problems.INTERNAL
        """Why it could not be served last, for whoever asks to try again."""
        self._host = host
        self.metadata = metadata
        """Kept up to date by the instance."""
        self._granted = granted
        self._endpoints = endpoints
        self._on_event = on_event
        self._become = become
        self._lost = lost
        self._adopted = adopted
        self._restart = restart
        self._last: tuple[Cause | None, str] = None, ""
        self._stopping = False
        self._undecided = False  # whether somebody goes on where the last worker has ended
        self._scope = trio.CancelScope()
        self._settled = lazily.Event()
        self._retry = lazily.Event()
        self._ended = lazily.Event()
        self._pauses = Pauses()
        self._decided: lazily.Event | None = None  # while a succession goes on
        self._successor: Worker | None = None
        self._changed = lazily.Event()
        """Set as soon as another worker serves it, or none does just now, or any more."""

    async def run(self, adopted: Worker | None, asleep: bool = False) -> None:
        """Serve, at first by the `adopted` worker if there is one; or it sleeps."""
        acting_alone()  # also when an administrator's request began it
        self._undecided = asleep
        try:
            with self._scope:
                await self._attempts(adopted, asleep)
            self._endpoints.remove()
            await self._disinherit()
        except Exception:
            log_of(self.metadata).exception("defect")
            was_served = self._last[0] in (Cause.READY, Cause.AWAITED)
            cause = Cause.CRASHED if was_served else Cause.REFUSED
            self._fail(NotServedError(cause, problems.INTERNAL, "internal error, see the log"))
            await self._disinherit()
        finally:
            self._endpoints.let_go()
            self._settled.set()
            self._undecided = False
            self._tell_of_change()
            self._ended.set()

    async def _disinherit(self) -> None:
        """Nobody goes on with what a worker may have left that has crashed."""
        if self._host.keeper is not None:
            await self._host.keeper.disinherit(self.metadata.uuid)

    @property
    def user(self) -> int:
        """Who uses the TPM, or stays connected while it sleeps; 0: nobody is known."""
        return self.worker.machine if self.worker else self._machine if self.asleep else 0

    async def settled(self) -> None:
        """Wait until the present attempt has succeeded or failed."""
        await self._settled.wait()

    async def try_now(self) -> None:
        """Make another attempt at once, and wait until it has succeeded or failed."""
        self._settled = lazily.Event()
        self._retry.set()
        await self.settled()

    async def replace(self) -> tuple[int, float]:
        """Have a fresh worker go on: its process id, and for how many seconds nobody served.

        Raises as `succession.succeed`, WorkerEndedError without a worker: nothing has changed then.
        """
        if (worker := self.worker) is None:
            raise WorkerEndedError("no worker serves it just now")
        decided = self._decided = lazily.Event()
        succeeded = self._changed
        try:
            successor, pause = await succeed(
                self._host, self.metadata, self._endpoints, worker, self._on_event
            )
            self._successor = successor
        finally:
            self._decided = None
            decided.set()
        with trio.move_on_after(SUCCESSION_GRACE):
            await succeeded.wait()
        if not succeeded.is_set():  # the old one has not ended by itself
            worker.kill()
            await succeeded.wait()
        return successor.pid, pause

    async def _take_successor(self) -> Worker | None:
        """The worker that goes on where one has ended, if one does.

        One ends before it is known here that another serves: so that is waited for.
        """
        if self._decided is not None:
            await self._decided.wait()
        successor, self._successor = self._successor, None
        return successor

    async def wake(self) -> None:
        """Have a worker serve what sleeps. Raises WorkerSilentError."""
        if not self.asleep or self._host.keeper is None:
            return
        woken = self._changed
        with trio.move_on_after(WAKE_TIMEOUT):
            while not woken.is_set():  # it may sleep again before it was met here
                with suppress(KeeperLostError):  # then it is woken from here
                    await self._host.keeper.wake(self.metadata.uuid)
                with trio.move_on_after(1.0):
                    await woken.wait()
        if self.worker is None:
            raise WorkerSilentError(f"it sleeps and was not woken within {WAKE_TIMEOUT:.0f} s")

    async def decided(self, ended: Worker | None) -> None:
        """Wait until it is known what follows on a worker, which may be one that has `ended`."""
        with trio.move_on_after(WAKE_TIMEOUT):
            while (ended is not None and self.worker is ended) or self._undecided:
                await self._changed.wait()

    async def _sleep(self, reason: str) -> Worker | None:
        """The worker that has woken the TPM, whose last one has ended.

        None if it does not sleep, nor did for a moment. Who is stopped meanwhile is woken for it.
        Raises NotServedError.
        """
        keeper, uuid = self._host.keeper, self.metadata.uuid
        kept = keeper is not None and await keeper.kept(uuid)
        self.asleep, self._undecided = kept, False
        self._tell_of_change()
        if keeper is None or not kept:
            return None
        self._machine = keeper.machine(uuid, self._machine)
        self._tell(Cause.ASLEEP, SLEEPS)
        try:
            if self._stopping:  # it fell asleep when it was asked to stop
                with suppress(KeeperLostError):  # which is told next
                    await keeper.wake(uuid)
            worker = await keeper.awakened(uuid, self._endpoints, self._on_event)
            self._host.nursery.start_soon(worker.run)
        except KeeperLostError:
            self._lost = f"its keeper ended; {POWERED_OFF}"
            worker = await revive(
                self._host,
                self.metadata,
                self._granted,
                self._endpoints,
                self._on_event,
                self._tell_stuck,
            )
            self._lost = None
        except WorkerEndedError as error:
            self._lost = f"its worker ended as soon as it woke; {POWERED_OFF}"
            raise NotServedError(Cause.CRASHED, problems.INTERNAL, str(error), True) from None
        finally:
            self.asleep = False
        worker.on_unwrap = OldKeys(self._host, self.metadata).answer
        self._tell(Cause.AWAKE, reason)
        return worker

    def _tell_stuck(self, reason: str) -> None:
        """It sleeps and nobody can wake it just now: it is no longer to be waited for."""
        self.asleep = False
        self._tell(Cause.ASLEEP, reason)

    async def end(self, reason: str, force: bool = False) -> None:
        """Stop serving; a worker that does not end by itself soon is killed.

        Raises OperationError where even that does not end it: it is not stopped.
        """
        self._stopping = True
        if (worker := self.worker) is None:
            if not self._undecided:  # what sleeps is woken, and stopped then
                self._scope.cancel()
            await self._ended.wait()
            return
        with trio.move_on_after(STOP_GRACE):
            await self._ask_to_stop(worker, reason, force)
        if self.worker is worker:
            log_of(self.metadata).warning("worker-killed", pid=worker.pid, reason="it did not stop")
            worker.kill()
            with trio.move_on_after(KILL_GRACE):
                await self._ended.wait()
        if self.worker is worker:
            raise OperationError(
                problems.UNAVAILABLE,
                f"It is not stopped: its worker (process {worker.pid}) was killed and has not "
                "ended. As a rule it waits for its storage, in the kernel: stop it again when that "
                "answers.",
            )
        await self._ended.wait()  # what is noted of its end may take a moment

    async def _ask_to_stop(self, worker: Worker, reason: str, force: bool) -> None:
        try:
            await worker.stop(reason, force)
        except (WorkerEndedError, WorkerFailedError) as error:
            log_of(self.metadata).warning("stop-unanswered", reason=str(error))
            if isinstance(error, WorkerSilentError):
                return
        await self._ended.wait()

    async def _attempts(self, adopted: Worker | None, asleep: bool) -> None:
        """Serve until stopped, or until another attempt makes no sense."""
        worker, reason = adopted, (adopted and adopted.strange) or self._adopted
        while True:
            try:
                if not asleep:
                    if worker is None:
                        worker, reason = await self._serve()
                    await self._attend(worker, reason, adopted)
                asleep = False
                while successor := await self._take_successor() or await self._sleep(reason):
                    worker = successor
                    await self._attend_successor(worker)
                uuid, registry = self.metadata.uuid, self._host.registry
                await trio.to_thread.run_sync(lease.give_up, registry, uuid)
                if not self.metadata.incoming:
                    await trio.to_thread.run_sync(self._host.anchors.note, uuid)
                if self._stopping:
                    return
                if worker is None:
                    raise NotServedError(Cause.CRASHED, problems.INTERNAL, "nothing sleeps", True)
                how = await self._host.zygote.exit_of(worker.pid)
                ended = f"ended unexpectedly ({how})" if how else "ended unexpectedly"
                self._lost = f"its worker (process {worker.pid}) {ended}; {POWERED_OFF}"
                raise NotServedError(Cause.CRASHED, problems.INTERNAL, self._lost, self._restart)
            except NotServedError as error:
                failure = error
            if self._stopping:
                return
            worker = None
            pauses = self._pauses.of(failure.cause)
            delay = pauses.next() if failure.again else None
            slow = pauses.exhausted or failure.cause is Cause.KEY_UNAVAILABLE
            self._fail(failure, "" if delay is None else pauses.outlook(delay))
            if delay is None and failure.cause is not Cause.KEY_UNAVAILABLE:
                return
            if slow:  # who connects now is refused at once, and not left waiting
                self._endpoints.turn_away(self._host.nursery, self._on_turned_away)
            with trio.move_on_after(math.inf if delay is None else delay):
                await self._retry.wait()
            if self._retry.is_set() and pauses.exhausted:  # somebody knows better: anew
                self._pauses.clear()
            self._retry = lazily.Event()

    async def _serve(self) -> tuple[Worker, str]:
        """A new worker that serves the instance, and why. Raises NotServedError."""
        # Tools on the data socket send no INIT: they expect a TPM that is on. One that has lost its
        # power stays off, so that no empty PCRs pass for those there were.
        startup = self.metadata.data_socket and self._lost is None
        reason = READY if self._lost is None else f"restarted: {self._lost}"
        damage: list[str] = []

        def on_event(pid: int, event: Event) -> bool:
            if event.kind == "state-damaged":
                damage.append(printable(event.detail[:MAX_DAMAGE]))
            return self._on_event(pid, event)

        worker = await serve(
            self._host,
            self.metadata,
            self._granted,
            self._endpoints,
            startup,
            on_event,
            damage.append,
        )
        if worker.incoming:
            reason = AWAITING
        return worker, "; ".join([reason, *damage])

    async def _attend(self, worker: Worker, reason: str, adopted: Worker | None) -> None:
        """Stay with a serving worker, which may be the `adopted` one, until it ends."""
        self.worker = worker
        self._tell(Cause.AWAITED if worker.incoming else Cause.READY, reason)
        await self._stay_with(worker, worker is adopted and worker.strange is None)

    async def _attend_successor(self, worker: Worker) -> None:
        """Stay with one that goes on for another, until it ends: at once where that was stopped."""
        worker.machine = self._machine
        async with trio.open_nursery() as nursery:
            if self._stopping:
                nursery.start_soon(self._stop_or_kill, worker)
            await self._stay_with(worker, admit_anew=not self._stopping)
            nursery.cancel_scope.cancel()

    def _tell_of_change(self) -> None:
        changed, self._changed = self._changed, lazily.Event()
        changed.set()

    async def _stop_or_kill(self, worker: Worker) -> None:
        with trio.move_on_after(STOP_GRACE):
            await self._ask_to_stop(worker, "it was stopped while this worker took over", True)
        worker.kill()

    async def _stay_with(self, worker: Worker, admit_anew: bool) -> None:
        self.worker, self._undecided = worker, False
        worker.inquire()
        self._tell_of_change()
        if (keeper := self._host.keeper) is not None:
            keeper.met(self.metadata.uuid, worker.pid)
            if worker.strange is None:
                keeper.offers.offer(worker, self.metadata, self._endpoints)
        try:
            if admit_anew:
                await renew_access(worker, self._endpoints, self._granted(), self.metadata)
            await worker.ended()
        finally:
            self.worker, self._undecided = None, True
            self._machine = worker.machine
            if keeper is not None:
                keeper.offers.withdraw(self.metadata.uuid)
            worker.close()

    def _fail(self, failure: NotServedError, outlook: str = "") -> None:
        self.problem = failure.problem
        self._tell(failure.cause, f"{failure}{outlook}")

    def _tell(self, cause: Cause, reason: str) -> None:
        self._last = cause, reason
        self._become(cause, reason)
        self._settled.set()

    def _on_turned_away(self) -> None:
        log_of(self.metadata).warning("client-turned-away", reason=self._last[1])

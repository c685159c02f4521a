"""Machines that count, guess and are reset, and know what their TPM must remember."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from tests.faults.machine import INCREMENT, RC_NV_UNAVAILABLE, WRONG_PASSWORD, Machine
from tests.peers.client import PeerError
from tests.peers.vtpmd import VtpmdInstance
from tests.soak.moving import Move

PATIENCE: Final = 10.0
_RC_AUTH_FAIL: Final = 0x98E
_PAUSE: Final = 0.05
_MOST_FAILURES: Final = 500  # that is far from the lockout
_KILLED_ON_ARRIVAL: Final = 0.3
_ROUNDS: Final = range(50, 400)  # commands between two resets of a machine
LOST: Final = (OSError, PeerError)
"""What a machine sees when its TPM is taken from it."""


class CountingMachine(threading.Thread):
    """A machine with one TPM, which works until `ended` is set, wherever that TPM is.

    What it was told is what the TPM must know later: `count` increments and `failures` of
    which it was not told what became. `losses` says where the TPM knew less, or what nobody did.
    """

    def __init__(self, instance: VtpmdInstance, seed: int) -> None:
        super().__init__(name=instance.name)
        self.ended = threading.Event()
        self.tally: Counter[str] = Counter()
        self.losses: list[str] = []
        self.instance = instance
        self._random = random.Random(seed)
        self._count = self._open_count = 0
        self._machine: Machine | None = None
        self._busy = threading.Event()
        self._busy.set()
        self._move: Move | None = None

    def prepare(self) -> None:
        """Define what is counted, before anything fails."""
        with Machine(self.instance, PATIENCE) as machine:
            machine.define_indices()
            self._count, self._failures = machine.count(), machine.lockout_counter()

    def run(self) -> None:
        while not self.ended.is_set():
            try:
                with Machine(self.instance, PATIENCE) as machine:
                    self.tally["resets"] += 1
                    self._check(machine)
                    left = self.work(machine, self._random.choice(_ROUNDS))
                while left is not None:
                    left = self._arrive(left)
            except LOST:
                self.tally["connections lost"] += 1
                self.ended.wait(_PAUSE)
            except Exception as error:  # the TPM answers what it must not
                self._not_started(error)

    def work(self, machine: Machine, commands: int) -> Move | None:
        """Increment and guess so many times, unless it shall end; how it has left, if it has."""
        self._machine = machine
        for _ in range(commands):
            self._busy.wait(PATIENCE)
            if self.ended.is_set():
                return None
            move, self._move = self._move, None
            if move is not None:
                move.leave(self.instance, machine)
                return move
            self._act(machine)
        return None

    def rest(self, condition: Callable[[], bool]) -> bool:
        """Send nothing until the condition holds, or for some seconds; whether it did."""
        self._busy.clear()
        try:
            until = time.monotonic() + PATIENCE
            while not condition():
                if time.monotonic() > until:
                    return False
                time.sleep(_PAUSE)
            return True
        finally:
            self._busy.set()

    def cut(self) -> None:
        """Its process is killed, and it is started anew."""
        if self._machine is not None:
            self._machine.cut()

    def migrate(self, move: Move) -> None:
        """Have it leave for another host, and wait until it has arrived there."""
        self._move = move
        move.done.wait(6 * PATIENCE)
        self._move = None

    def _arrive(self, move: Move) -> Move | None:
        """Go on at the target, from what was read at the source; as `work`."""
        try:
            with move.arrive(PATIENCE) as machine:
                self.instance = move.target_instance
                self.tally["migrations"] += 1
                if self._random.random() < _KILLED_ON_ARRIVAL:
                    self.tally["targets killed before their first command"] += 1
                    self.instance.kill()
                    return None
                self._check(machine)
                move.done.set()
                return self.work(machine, self._random.choice(_ROUNDS))
        except LOST as error:
            if not move.done.is_set():
                self.losses.append(f"{self.name}: did not arrive: {error!r}")
            raise
        finally:
            move.done.set()

    def check(self) -> None:
        """Compare once more, when all is well again."""
        with Machine(self.instance, PATIENCE) as machine:
            self._check(machine)

    def _not_started(self, error: Exception) -> None:
        """TPM2_Startup must be stored as well."""
        if getattr(error, "code", None) not in (RC_NV_UNAVAILABLE, 0x101):
            self.losses.append(f"{self.name}: {error!r}")
        self.tally["starts refused"] += 1
        self.ended.wait(_PAUSE)

    def _check(self, machine: Machine) -> None:
        count, failures = machine.count(), machine.lockout_counter()
        if not self._count <= count <= self._count + self._open_count:
            expected = f"{self._count} to {self._count + self._open_count}"
            self.losses.append(f"{self.name}: {count} increments, not {expected}")
        if failures < self._failures:
            self.losses.append(f"{self.name}: {failures} failures, not {self._failures}")
        self.tally["checks"] += 1
        self._count, self._failures = count, failures
        self._open_count = 0

    def _act(self, machine: Machine) -> None:
        guess = self._random.random() < 0.05 and self._failures < _MOST_FAILURES
        if not guess:
            self._open_count += 1
        code = machine.code(WRONG_PASSWORD if guess else INCREMENT)
        self.tally["commands answered"] += 1
        if code == RC_NV_UNAVAILABLE:
            self.tally["refused for want of storage"] += 1
            self._open_count -= not guess
            self.ended.wait(_PAUSE)
        elif code == 0 and not guess:
            self._count, self._open_count = self._count + 1, self._open_count - 1
        elif code == _RC_AUTH_FAIL and guess:
            self._failures += 1
        else:
            self.tally[f"answered {code:#x}"] += 1

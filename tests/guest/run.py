"""A run: the temporary directory, the emulators and machines of one scenario, and its results."""

import time
from collections.abc import Sequence
from pathlib import Path

from tests.guest import judge, trace
from tests.guest.console import Results
from tests.guest.emulator import Emulator
from tests.guest.errors import GuestError
from tests.guest.options import Options
from tests.guest.qemu import Machine, kvm_works, tpm_arguments
from tests.guest.scenarios import SCENARIOS


class Run:
    """Plays one scenario; emulators[0] is the machine's TPM, [1] that of a migration's target."""

    def __init__(self, options: Options, emulators: Sequence[Emulator], directory: Path) -> None:
        self.options, self.directory = options, directory
        self.results = Results(options.log)
        self.deadline = time.monotonic() + options.timeout
        self.accelerator = options.accelerator
        self._emulators = emulators
        self.endorsement = emulators[0].endorsement()
        """Of the machine's TPM."""
        self._machines: list[Machine] = []
        self._relays: dict[int, Path] = {}
        self.trace: trace.Trace | None = None
        if options.trace:
            self.trace = trace.Trace(options.trace)
            self.trace.mark("firmware")
            self.results.on_phase = self.trace.mark

    def play(self) -> None:
        """Run the scenario to its end; GuestError when it does not get there."""
        if self.accelerator == "auto":
            self.accelerator = "kvm" if kvm_works(self.options.firmware) else "tcg"
            self.results.note(f"accelerator {self.accelerator}")
        machine = SCENARIOS[self.options.scenario](self, self.start_machine(1))
        machine.gone()

    def start_machine(self, number: int, incoming: str | None = None) -> Machine:
        """A QEMU with TPM `number`, whose emulator is started if it is ours to start."""
        emulator = self._emulators[number - 1]
        emulator.start()
        arguments = self.options.tpm_arguments
        if arguments is None or number != 1 or self.trace:
            path = self._relay(number, emulator.socket) if self.trace else emulator.socket
            arguments = tpm_arguments(path, self.options.model)
        machine = Machine(
            self.options,
            self.results,
            self.accelerator,
            self.directory,
            number,
            arguments,
            self.deadline,
            incoming,
        )
        self._machines.append(machine)
        return machine

    def _relay(self, number: int, tpm: Path) -> Path:
        if self.trace and number not in self._relays:
            self._relays[number] = self.directory / f"relay{number}.sock"
            trace.Relay(self._relays[number], tpm, self.trace, f"tpm{number}")
        return self._relays[number]

    def kill(self, machine: Machine) -> None:
        """End a machine and its TPM as a crash would."""
        machine.kill()
        self.kill_emulator(machine)

    def kill_emulator(self, machine: Machine) -> None:
        """End a machine's TPM alone as a crash would."""
        self._emulators[machine.number - 1].kill()

    def mark(self, text: str) -> None:
        self.results.note(text)
        if self.trace:
            self.trace.mark(text)

    def close(self) -> None:
        for machine in reversed(self._machines):
            machine.close()
        for emulator in self._emulators:
            emulator.stop()
        if self.trace:
            self.trace.close()
        self.results.close()


def run_guest(options: Options, emulators: Sequence[Emulator], directory: Path) -> Run:
    """Play and judge one scenario; `directory` is an empty one for sockets and copies.

    What went wrong is in the results; errors.NotPossibleError when the run cannot be made here.
    """
    run = Run(options, emulators, directory)
    try:
        run.play()
    except GuestError as failure:
        run.results.problems.append(str(failure))
    finally:
        run.close()
    judge.judge(run.results, options.scenario, options.model, options.initramfs, run.endorsement)
    return run

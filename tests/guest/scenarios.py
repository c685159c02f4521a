"""The host's part in each scenario: follow the guest, and do to its machine what is to be done.

Each function gets the run and its first machine and returns the machine that ran last.
"""

import select
import shlex
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.guest.attestation import attest
from tests.guest.errors import GuestError
from tests.guest.qemu import Machine

if TYPE_CHECKING:
    from tests.guest.run import Run

UNLIMITED = 1 << 32
"""Migration bandwidth, bytes per second."""


def watch(run: "Run", machine: Machine) -> Machine:
    machine.follow("done")
    return machine


def reset(run: "Run", machine: Machine) -> Machine:
    machine.follow("wait")
    run.mark("system_reset")
    machine.qmp.command("system_reset")
    return _second_boot(machine)


def reboot(run: "Run", machine: Machine) -> Machine:
    machine.follow("done")
    return _second_boot(machine)


def _second_boot(machine: Machine) -> Machine:
    machine.follow("start")
    machine.follow("done")
    return machine


def coldboot(run: "Run", machine: Machine) -> Machine:
    machine.follow("done")
    machine.gone()
    run.mark("second QEMU")
    return watch(run, run.start_machine(1))


def crash(run: "Run", machine: Machine) -> Machine:
    machine.follow("wait")
    run.mark("SIGKILL")
    run.kill(machine)
    return watch(run, run.start_machine(1))


def worker_crash(run: "Run", machine: Machine) -> Machine:
    machine.follow("wait")
    run.mark("SIGKILL of who serves the TPM")
    run.kill_emulator(machine)
    machine.say("killed")
    machine.follow("done")
    return _second_boot(machine)


def suspend(run: "Run", machine: Machine) -> Machine:
    machine.follow("wait")
    machine.qmp.event("SUSPEND", 60)
    run.mark("suspended")
    time.sleep(1)  # a guest that is woken at once has hardly slept
    machine.qmp.command("system_wakeup")
    run.mark("system_wakeup")
    return watch(run, machine)


def snapshot(run: "Run", machine: Machine) -> Machine:
    machine.follow("wait")
    run.mark("savevm")
    machine.qmp.human("savevm vtpm")
    run.mark("savevm done")
    machine.say("mutate")
    machine.follow("wait")
    run.mark("loadvm")
    machine.qmp.human("loadvm vtpm")
    run.mark("loadvm done")
    machine.qmp.command("cont")
    return _verify(run, machine)


def _verify(run: "Run", machine: Machine) -> Machine:
    machine.say("verify")
    return watch(run, machine)


def _migrate_live(run: "Run", machine: Machine) -> Machine:
    uri = f"unix:{run.directory}/migrate.sock"
    target = run.start_machine(2, incoming=uri)
    machine.qmp.command("migrate-set-parameters", **{"max-bandwidth": UNLIMITED})
    run.mark("migrate")
    info = machine.qmp.migrate(uri)
    transferred = info.get("ram", {}).get("transferred", 0) >> 20
    run.results.note(
        f"migrated in {info.get('total-time')} ms, downtime {info.get('downtime')} ms, "
        f"{transferred} MiB"
    )
    target.qmp.event("RESUME", 30)
    run.mark("destination runs")
    machine.quit()
    return target


def migrate(run: "Run", machine: Machine) -> Machine:
    machine.follow("wait")
    return _verify(run, _migrate_live(run, machine))


def busy(run: "Run", machine: Machine) -> Machine:
    machine.follow("wait")
    _follow_for(machine, seconds=3)
    target = _migrate_live(run, machine)
    _follow_for(target, seconds=3)
    target.say("stop")
    return watch(run, target)


def _follow_for(machine: Machine, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        machine.follow("kv")


def migrate_file(run: "Run", machine: Machine) -> Machine:
    machine.follow("wait")
    state = run.directory / "machine.state"
    machine.qmp.command("stop")
    machine.qmp.command("migrate-set-parameters", **{"max-bandwidth": UNLIMITED})
    run.mark("migrate to file")
    machine.qmp.migrate(f"exec:cat > {shlex.quote(str(state))}")
    machine.quit()
    run.results.note(f"state file of {state.stat().st_size >> 20} MiB")
    run.mark("migrate from file")
    restored = run.start_machine(1, incoming=f"exec:cat {shlex.quote(str(state))}")
    end = time.monotonic() + 60
    while restored.qmp.command("query-status")["status"] == "inmigrate":
        if time.monotonic() > end:
            raise GuestError("the incoming migration does not end")
        time.sleep(0.05)
    restored.qmp.command("cont")
    run.mark("restored machine runs")
    return _verify(run, restored)


def migrate_resume(run: "Run", machine: Machine) -> Machine:
    machine.follow("wait")
    machine.qmp.command("migrate-set-parameters", **{"max-bandwidth": UNLIMITED})
    run.mark("migrate")
    machine.qmp.migrate("exec:cat > /dev/null")
    run.mark("cont")
    machine.qmp.command("cont")
    return _verify(run, machine)


def physical_presence(run: "Run", machine: Machine) -> Machine:
    machine.follow("done")
    run.mark("firmware asks for confirmation")
    # Every question of EDK II is answered by F12 (accept): pressed until the guest is up again.
    presses = 0
    while machine.follow("start", seconds=1) is None:
        machine.qmp.command("send-key", keys=[{"type": "qcode", "data": "f12"}])
        presses += 1
    run.results.note(f"pressed F12 {presses} times")
    return watch(run, machine)


def shell(run: "Run", machine: Machine) -> Machine:
    """The guest's shell on our standard input and output, until the end of either."""
    machine.follow("wait")
    console, keyboard = machine.serial.fileno(), sys.stdin.fileno()
    inputs = [console, keyboard]
    text = b""
    while b"@@ done" not in text:
        if time.monotonic() > machine.deadline:
            raise GuestError("timeout in the shell")
        for ready in select.select(inputs, [], [], 1.0)[0]:
            if ready == keyboard:
                line = sys.stdin.buffer.readline()
                if not line:
                    inputs.remove(keyboard)
                machine.serial.sendall(line or b"exit\n")
            else:
                data = machine.serial.recv(65536)
                if not data:
                    raise GuestError(f"QEMU ended in the shell: {machine.complaint()}")
                run.results.raw(data)
                text += data
                sys.stdout.buffer.write(data)
                sys.stdout.buffer.flush()
    for words in text.decode("utf-8", "replace").split("\n"):
        run.results.line(words)
    return machine


SCENARIOS: dict[str, Callable[["Run", Machine], Machine]] = {
    "smoke": watch,
    "full": watch,
    "windows": watch,
    "attest": attest,
    "reset": reset,
    "reboot": reboot,
    "coldboot": coldboot,
    "crash": crash,
    "worker-crash": worker_crash,
    "suspend": suspend,
    "snapshot": snapshot,
    "migrate": migrate,
    "migrate-file": migrate_file,
    "migrate-resume": migrate_resume,
    "busy": busy,
    "ppi": physical_presence,
    "post-quantum": watch,
    "shell": shell,
}

TWO_EMULATORS = {"migrate", "busy"}

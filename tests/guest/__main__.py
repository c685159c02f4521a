"""Boot the test guest against a TPM emulator's control socket and judge the run.

    python -m tests.guest --guest DIR --tpm-socket PATH [--model crb|tis] [--scenario NAME] ...

The TPM emulator is either already listening at --tpm-socket, or started from --tpm-command, a
command line in which {socket} stands for the socket's path and {n} for 1 (the machine) or 2 (the
destination of a migration). A scenario that starts QEMU more than once needs an emulator that
outlives CMD_SHUTDOWN, or --tpm-command.

Scenarios:
  smoke         boot, PCRs, event log, random numbers
  full          the above and keys, attestation, sealing, NV, persistence, clear
  attest        from an EK's certificate to a verdict, which refuses another kernel
  windows       what Windows 11 asks of a TPM, as far as Linux can tell
  reset         system_reset over QMP between two boots: PCRs anew, NV kept
  reboot        the same, the guest reboots by itself
  coldboot      the same, with a new QEMU process
  crash         the same, QEMU (and what --tpm-command started) killed by SIGKILL
  worker-crash  who serves the TPM killed by SIGKILL; the guest reboots, and what it sealed opens
  suspend       S3: TPM2_Shutdown(STATE), wake up, TPM2_Startup(STATE)
  snapshot      savevm, change the TPM's state, loadvm
  migrate       live migration to a second QEMU with a second TPM emulator
  migrate-file  save the machine into a file, restore it in a new QEMU
  migrate-resume  save the machine, then let the saved one run on after all
  busy          live migration while the guest keeps the TPM busy
  post-quantum  keys of ML-DSA and ML-KEM, by octets; wants a TPM of the profile pqc-v1
  ppi           the guest asks the firmware, by PPI, to clear the TPM
  shell         a shell in the guest, fed from standard input until its end

Exit status: 0 every expected marker was seen and every check passed; 1 a check failed or a marker
is missing; 2 the run could not be made.
"""

import argparse
import os
import shlex
import signal
import sys
import tempfile
from pathlib import Path

from tests.guest import report
from tests.guest.emulator import Emulator, Listening, Started
from tests.guest.errors import NotPossibleError
from tests.guest.options import OVMF, Options
from tests.guest.run import run_guest
from tests.guest.scenarios import SCENARIOS, TWO_EMULATORS
from tests.guest.trace import print_histogram


def arguments_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.guest",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--guest", type=Path, default=os.environ.get("VTPM_GUEST", "build/guest"), metavar="DIR")
    add("--tpm-socket", type=Path, metavar="PATH", help="the TPM emulator's control socket")
    add("--tpm-socket-dest", type=Path, metavar="PATH", help="that of a migration's destination")
    add("--tpm-command", metavar="CMD", help="start the TPM emulator with this command line")
    add("--model", choices=("crb", "tis"), default="crb")
    add("--accel", choices=("auto", "kvm", "tcg"), default="auto")
    add("--cpu", default=Options.cpu, help="CPU model under tcg [%(default)s]")
    add("--memory", type=int, default=Options.memory, help="MiB [%(default)s]")
    add("--firmware", default=str(OVMF), metavar="PATH", help="or 'seabios' [%(default)s]")
    add("--vars", type=Path, metavar="PATH", help="firmware variable template [by --firmware]")
    add("--boot", choices=("direct", "disk"), default="direct", help="kernel from QEMU or a disk")
    add("--scenario", choices=sorted(SCENARIOS), default="smoke")
    add("--timeout", type=float, default=Options.timeout, metavar="S", help="[%(default)s]")
    add("--log", type=Path, default=Path("serial.log"), metavar="FILE", help="[%(default)s]")
    add("--json", type=Path, metavar="FILE", help="write the results")
    add("--trace", type=Path, metavar="FILE", help="record control and TPM commands")
    add("--save", type=Path, metavar="DIR", help="write event logs, PCRs and other blobs there")
    add("--append", default=Options.append, help="more kernel arguments [%(default)s]")
    add("--qemu-args", default="", help="more QEMU arguments")
    add("--tpm-args", help="QEMU's arguments for the TPM, in place of ours")
    add("--keep", type=Path, metavar="DIR", help="an empty directory to work in and to keep")
    add("-v", "--verbose", action="store_true")
    return parser


def options_of(given: argparse.Namespace) -> Options:
    return Options(
        guest=given.guest,
        scenario=given.scenario,
        model=given.model,
        accelerator=given.accel,
        cpu=given.cpu,
        memory=given.memory,
        firmware=None if given.firmware in ("", "seabios") else Path(given.firmware),
        variables=given.vars,
        boot=given.boot,
        timeout=given.timeout,
        log=given.log,
        trace=given.trace,
        append=given.append,
        qemu_arguments=shlex.split(given.qemu_args),
        tpm_arguments=shlex.split(given.tpm_args) if given.tpm_args else None,
        verbose=given.verbose,
    )


def emulators_of(given: argparse.Namespace, directory: Path) -> list[Emulator]:
    emulators: list[Emulator] = []
    for number, given_socket in enumerate((given.tpm_socket, given.tpm_socket_dest), 1):
        path = given_socket or directory / f"tpm{number}.sock"
        if given.tpm_command:
            log = directory / f"tpm{number}.log"
            emulators.append(Started(given.tpm_command, number, path, log))
        elif given_socket:
            emulators.append(Listening(path))
    return emulators


def main() -> int:
    parser = arguments_parser()
    given = parser.parse_args()
    options = options_of(given)
    for path in (options.kernel, options.initramfs):
        if not path.exists():
            print(f"no {path}: run tests/guest/image/build.sh first", file=sys.stderr)
            return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is ended
    with tempfile.TemporaryDirectory(prefix="vtpm-run.") as temporary:
        directory = given.keep or Path(temporary)
        emulators = emulators_of(given, directory)
        if len(emulators) < (2 if given.scenario in TWO_EMULATORS else 1):
            parser.error("--tpm-socket (--tpm-socket-dest) or --tpm-command is needed")
        try:
            run = run_guest(options, emulators, directory)
        except NotPossibleError as reason:
            print(f"guest: {reason}", file=sys.stderr)
            return 2
    report.print_results(run)
    if run.trace and given.verbose:
        print_histogram(run.trace.records)
    if given.save:
        report.save_blobs(run.results, given.save)
    if given.json:
        report.write_json(run, given.json)
    return 1 if run.results.failed else 0


if __name__ == "__main__":
    sys.exit(main())

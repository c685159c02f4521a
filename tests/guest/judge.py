"""What must hold after a run: the checks each scenario must have passed, and the host's own."""

import hashlib
import struct
from collections.abc import Set as AbstractSet
from pathlib import Path

from tests.guest import eventlog
from tests.guest.console import Boot, Replay, Results
from tests.guest.endorsement import Endorsement
from tests.guest.endorsement import problems as endorsement_problems
from tests.guest.eventlog import Pcrs


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


COMMON = {"tpm-device", "tpm-version", "acpi-tpm2", "pcrread-boot", "kernel-log"}
MEASURED = {"eventlog", "getrandom"}
FULL = _names(
    """
    eventlog getcap-fixed getcap-variable getcap-commands getrandom
    primary-ecc create-ecc load-ecc sign-ecc verify-ecc verify-tampered
    create-rsa load-rsa rsa-encrypt rsa-decrypt hmac hash aes
    ek-rsa ak-ecc makecredential activatecredential quote checkquote checkquote-nonce
    seal-policy seal-create seal-load unseal pcrextend unseal-after-extend
    pcrreset unseal-after-reset hmac-session
    nv-define nv-write nv-read nv-read-auth nv-wrong-auth nv-undefine nv-counter
    da-setup srk-create srk-evict srk-read clear srk-gone
    """
)
WINDOWS = _names(
    """
    eventlog ppi win-family win-revision win-algorithms win-curve win-bank win-ek win-srk
    win-seal win-unseal win-wrong-pin win-counter-after win-lockout-reset win-unseal-capped
    win-ppi
    """
)
ATTESTED = _names(
    """
    eventlog createek getekcertificate createak keep-ak session activatecredential attest-quote
    """
)
TWO_BOOTS = _names(
    """
    nv-write srk-evict extend pcr16-extended
    nv-persistent srk-persistent pcr16-reset srk-usable
    """
)
MOVED = _names(
    """
    vol-primary vol-session vol-policypcr vol-sequence vol-update vol-saved
    vol-pcrs-same vol-reset-count vol-clock vol-name-same vol-sign vol-session-digest
    vol-update-after vol-sequence-result vol-saved-after pcrread-after getrandom
    """
)
POST_QUANTUM = _names(
    """
    pqc-sets pqc-signing-key pqc-sign-start pqc-update pqc-sign pqc-signature pqc-verify-start
    pqc-update-again pqc-verify pqc-quote pqc-quote-size pqc-kem-key pqc-encapsulate pqc-ciphertext
    pqc-decapsulate pqc-secret getrandom
    """
)
REQUIRED: dict[str, AbstractSet[str]] = {
    "smoke": MEASURED,
    "full": FULL,
    "windows": WINDOWS,
    "attest": ATTESTED,
    "reset": TWO_BOOTS,
    "reboot": TWO_BOOTS,
    "coldboot": TWO_BOOTS,
    "crash": TWO_BOOTS,
    "worker-crash": TWO_BOOTS | {"seal-evict", "tpm-off", "unseal", "getrandom"},
    "suspend": {"suspend", "pcrs-same", "getrandom"},
    "snapshot": MOVED,
    "migrate": MOVED,
    "migrate-file": MOVED,
    "migrate-resume": MOVED,
    "busy": {"busy-errors", "busy-pcr16"},
    "ppi": {"ppi", "ppi-request", "srk-evict", "ppi-response", "srk-cleared"},
    "post-quantum": POST_QUANTUM,
    "shell": set(),
}
"""Checks that must have passed in each scenario, beside none having failed."""

START_METHODS = {"crb": (7, 0xFED40040), "tis": (6, 0)}
"""Start method and control area of the ACPI TPM2 table, by QEMU's device."""


def judge(
    results: Results,
    scenario: str,
    model: str,
    initramfs: Path,
    endorsement: Endorsement | None = None,
) -> None:
    """Add to `results.problems` whatever is not as it must be."""
    image = initramfs.read_bytes()
    for number, boot in enumerate(results.boots, 1):
        problems = _acpi_problems(boot.facts.get("acpi-tpm2", ""), model)
        problems += _measurement_problems(boot, image)
        results.problems += [f"boot {number}: {problem}" for problem in problems]
    if not results.boots:
        results.problems.append("no marker of the guest was seen")
        return
    missing = (COMMON | REQUIRED[scenario]) - results.passes.keys()
    results.problems += [f"marker missing: pass {name}" for name in sorted(missing)]
    if scenario == "full" and endorsement is not None:
        results.problems += endorsement_problems(endorsement, results.boot.blobs)
    if REQUIRED[scenario] >= TWO_BOOTS:
        results.problems += _persistence_problems(results.boots)


def _acpi_problems(table_hex: str, model: str) -> list[str]:
    try:
        table = bytes.fromhex(table_hex)
    except ValueError:
        return ["ACPI TPM2 table unreadable"]
    if len(table) < 52:
        return ["ACPI TPM2 table too short"]
    signature, length = struct.unpack_from("<4sI", table)
    control, method = struct.unpack_from("<QI", table, 40)
    problems = []
    if signature != b"TPM2" or length != len(table) or sum(table) % 256:
        problems.append("ACPI TPM2 table: signature, length or checksum is wrong")
    if (method, control) != START_METHODS[model]:
        problems.append(f"ACPI TPM2 table: start method {method}, control area 0x{control:x}")
    return problems


def _measurement_problems(boot: Boot, initramfs: bytes) -> list[str]:
    """The event log must explain the PCRs."""
    pcrs = boot.pcrs.get("boot", {})
    if not pcrs:
        return ["no PCR values"]
    problems = [
        f"{bank} PCR {index} is zero"
        for bank, values in pcrs.items()
        for index in range(8)
        if not any(values.get(index, b""))
    ]
    if "eventlog" not in boot.blobs:
        return problems
    try:
        log = eventlog.parse(boot.blobs["eventlog"].data)
        replayed = eventlog.replay(log)
        if "ima" in boot.blobs:
            _add_ima(replayed, boot.blobs["ima"].data, pcrs)
    except eventlog.LogError as error:
        return [*problems, f"event log: {error}"]
    boot.replay = Replay(
        events=len(log.events),
        banks=sorted(replayed),
        compared=sum(len(replayed[b].keys() & pcrs.get(b, {}).keys()) for b in replayed),
    )
    problems += eventlog.compare(replayed, pcrs)
    problems += _initramfs_problems(log, initramfs)
    problems += [
        f"event {number}: {bank} digest is not that of its data"
        for number, bank in eventlog.wrong_digests(log)
    ]
    problems += [
        f"the event log lacks the active bank {bank}" for bank in pcrs if bank not in replayed
    ]
    return problems


def _add_ima(replayed: Pcrs, measurements: bytes, pcrs: Pcrs) -> None:
    """Add what Linux measured after the firmware, in PCRs that the firmware's log leaves alone."""
    for bank in replayed.keys() & pcrs.keys():
        hashed = eventlog.replay_ima(measurements, bank)
        padded = eventlog.replay_ima(measurements, bank, padded=True)
        for index in hashed.keys() - replayed[bank].keys():
            is_padded = padded[index] == pcrs[bank].get(index)
            replayed[bank][index] = padded[index] if is_padded else hashed[index]


def _initramfs_problems(log: eventlog.Log, initramfs: bytes) -> list[str]:
    """The kernel's EFI stub measures the initramfs: known to the byte."""
    return [
        f"{bank} digest of the initramfs is wrong"
        for event in log.events
        if event.type == eventlog.EV_EVENT_TAG and b"Linux initrd" in event.data
        for bank, digest in event.digests.items()
        if hashlib.new(bank, initramfs).digest() != digest
    ]


def _persistence_problems(boots: list[Boot]) -> list[str]:
    """What must survive a reset of the machine, and what must go on."""
    if len(boots) != 2:
        return [f"{len(boots)} boots instead of 2"]
    first, second = (boot.facts for boot in boots)
    problems = [
        f"{key} changed over the reset: {first.get(key)} then {second.get(key)}"
        for key in ("nv-data", "srk-name")
        if not first.get(key) or first[key] != second.get(key)
    ]
    if _starts(second) <= _starts(first):
        problems.append("neither resetCount nor restartCount grew over the reset")
    if int(second.get("clock-boot") or 0) <= int(first.get("clock-boot") or 0):
        problems.append("Clock did not go on over the reset")
    return problems


def _starts(facts: dict[str, str]) -> tuple[int, int]:
    """resetCount and restartCount. An emulator that shuts a TPM down on the guest's behalf, with
    Shutdown(STATE), makes a TPM Restart of what is a TPM Reset otherwise (Part 1, 9.2.3.2)."""
    reset, restart = (facts.get(f"{name}_count-boot") or 0 for name in ("reset", "restart"))
    return int(reset), int(restart)

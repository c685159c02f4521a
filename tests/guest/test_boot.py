"""Real guests: firmware, Linux and tpm2-tools must find a TPM that keeps its promises."""

from pathlib import Path

import pytest

from tests.guest.conftest import Hosts
from tests.guest.emulator import Emulator
from tests.guest.options import Options
from tests.guest.run import run_guest

pytestmark = pytest.mark.guest

PATIENCE = 420.0
"""Seconds for a run: two boots on a machine that has much else to do, without KVM."""


def play(
    scenario: str,
    model: str,
    image: Path,
    emulators: list[Emulator],
    work: Path,
    boot: str = "direct",
) -> None:
    """Play a scenario, in which guest and host may find nothing wrong."""
    directory = work / "machine"
    directory.mkdir()
    log = directory / "serial.log"
    options = Options(
        guest=image, scenario=scenario, model=model, log=log, timeout=PATIENCE, boot=boot
    )
    results = run_guest(options, emulators, directory).results
    said = [line for line in log.read_text(errors="replace").splitlines() if "@@ |" not in line]
    assert not results.failed, "\n".join([*results.failures, *results.problems, *said[-40:]])


@pytest.mark.parametrize("model", ["crb", "tis"])
@pytest.mark.parametrize(
    "scenario",
    [
        *("smoke", "reset", "reboot", "coldboot", "crash", "suspend"),
        *("full", "windows", "ppi", "snapshot", "migrate-file"),
    ],
)
def test_guest_and_host_find_nothing_wrong(
    scenario: str, model: str, guest_image: Path, emulators: list[Emulator], short_path: Path
) -> None:
    play(scenario, model, guest_image, emulators, short_path)


@pytest.mark.parametrize(("scenario", "model"), [("full", "crb")])
def test_a_guest_does_not_notice_who_serves_its_tpm(
    scenario: str, model: str, guest_image: Path, restless: list[Emulator], short_path: Path
) -> None:
    play(scenario, model, guest_image, restless, short_path)


@pytest.mark.parametrize("model", ["crb", "tis"])
def test_keys_of_ml_kem_and_ml_dsa_fit_through_the_interface(
    model: str, guest_image: Path, with_post_quantum_keys: list[Emulator], short_path: Path
) -> None:
    play("post-quantum", model, guest_image, with_post_quantum_keys, short_path)


@pytest.mark.parametrize("model", ["crb", "tis"])
def test_a_machine_outlives_the_crash_of_its_worker(
    model: str, guest_image: Path, served: list[Emulator], short_path: Path
) -> None:
    """QEMU neither ends nor hangs: a reboot of the guest gives it its TPM back."""
    play("worker-crash", model, guest_image, served, short_path)


@pytest.mark.parametrize(
    ("scenario", "model", "rekeyed"),
    [
        ("migrate", "crb", False),
        ("migrate", "tis", True),
        ("busy", "crb", True),
        ("busy", "tis", False),
    ],
)
def test_a_machine_moves_to_a_host_that_has_nothing_of_its_tpm(
    scenario: str, model: str, rekeyed: bool, guest_image: Path, hosts: Hosts, short_path: Path
) -> None:
    play(scenario, model, guest_image, hosts.emulators(rekeyed=rekeyed), short_path)
    there = hosts.target.instance(hosts.name).info()
    assert (there["state"], there["worker"]["epoch"]) == ("running", 1)
    assert hosts.source.instance(hosts.name).info()["handover"] == "away"

"""What is measured."""

from pathlib import Path

from tests.bench.measure import measurements, recorded_commands
from tests.bench.workloads import WORKLOADS

LOG = """SWTPM_IO_Read: length 12
 80 01 00 00 00 0C 00 00 01 44 00 00 
SWTPM_IO_Write: length 10
 80 01 00 00 00 0A 00 00 00 00 
SWTPM_IO_Read: length 18
 80 01 00 00 00 12 00 00 01 7A 00 00 00 06 00 00 
 01 00 
"""  # noqa: W291 as swtpm writes it


def test_a_boot_is_read_from_what_swtpm_has_logged(tmp_path: Path) -> None:
    log = tmp_path / "boot.log"
    assert not [each for each in measurements(log) if "boot" in each.name]
    log.write_text(LOG)
    assert recorded_commands(log) == [
        bytes.fromhex("80010000000c000001440000"),
        bytes.fromhex("8001000000120000017a0000000600000100"),
    ]
    assert [each.name for each in measurements(log) if "boot" in each.name] == [
        "Windows 11 boot, 2 commands"
    ]


def test_names_are_different_and_the_commands_come_first() -> None:
    names = [each.name for each in measurements(Path("/nowhere"))]
    assert len(set(names)) == len(names)
    assert names[: len(WORKLOADS)] == [workload.name for workload in WORKLOADS]
    assert len(WORKLOADS) == 21

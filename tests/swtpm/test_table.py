"""Whoever adds a control command is told what it lacks, at import."""

import pytest

from tests.tpm_names import CONTROL_NAMES
from vtpmd.swtpm.control import complete
from vtpmd.swtpm.table import Command


def test_a_command_without_a_handler_cannot_be_declared() -> None:
    handlers = {command: lambda channel, request: ((), b"") for command in Command}
    assert complete(handlers) is handlers
    del handlers[Command.STORE_VOLATILE]
    with pytest.raises(TypeError, match=r"without a handler: STORE_VOLATILE$"):
        complete(handlers)


def test_the_numbers_are_swtpms() -> None:
    assert [int(command) for command in Command] == list(range(1, 0x14))


def test_every_command_has_its_name_in_traces() -> None:
    assert {command: f"CMD_{command.name}" for command in Command} == CONTROL_NAMES

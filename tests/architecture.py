"""The state machines in docs/ARCHITECTURE.md, made from the tables that the code follows.

python -m tests.architecture            write them into docs/ARCHITECTURE.md
"""

from pathlib import Path
from types import ModuleType
from typing import get_args

from tests import documents
from vtpmd.api.names import FAILED, LOCKED, RUNNING, STOPPED
from vtpmd.ipc.rules import RULES, State
from vtpmd.storage.header import Handover
from vtpmd.supervisor.states import REFUSALS, TRANSITIONS, Act, Cause
from vtpmd.swtpm.table import Command
from vtpmd.worker import ownership, power
from vtpmd.worker.handover import STEPS, Happening, Step

ARCHITECTURE = Path(__file__).parents[1] / "docs/ARCHITECTURE.md"
HOW = "python -m tests.architecture"
_STATES = (STOPPED, LOCKED, FAILED, RUNNING)


def _transitions() -> str:
    return documents.table(
        ["what happens", *_STATES],
        [
            [cause.value, *(TRANSITIONS.get((state, cause), "") for state in _STATES)]
            for cause in Cause
        ],
    )


def _refusals() -> str:
    return documents.table(
        ["to be", *REFUSALS],
        [
            [act.value, *(row[act].code if act in row else "" for row in REFUSALS.values())]
            for act in Act
        ],
    )


def _messages() -> str:
    rows = []
    for message, rule in RULES.items():
        states = ", ".join(state.value for state in State if state in rule.states)
        then = rule.then.value if rule.then else ""
        if isinstance(rule.fds, range):
            descriptors = f"{rule.fds[0]} to {rule.fds[-1]}"
        else:
            descriptors = " or ".join(str(count) for count in rule.fds if rule.fds != (0,))
        rows.append([f"`{message.__name__}`", rule.sender.value, states, then, descriptors])
    return documents.table(["message", "sent by", "in", "then", "descriptors"], rows)


def _hand_over() -> str:
    def cell(step: Step | str | None) -> str:
        if step is None:
            return ""
        return "refused" if isinstance(step, str) else step.to + (", new epoch" * step.anew)

    states = get_args(Handover)
    rows = [
        [happening.value, *(cell(STEPS.get((happening, state))) for state in states)]
        for happening in Happening
    ]
    return documents.table(["what happens", *states], rows)


def _control() -> str:
    return documents.table(
        ["control message", "TPM", "while a TPM command runs"],
        [
            [command.name, command.shape.requires.value, command.shape.turn.value]
            for command in Command
        ],
    )


def _of_docstring(module: ModuleType) -> str:
    lines = (module.__doc__ or "").splitlines()
    return "\n".join(line for line in lines if line.startswith("|"))


def content() -> str:
    """What is between the markers."""
    parts = {
        "An instance (`supervisor/states.py`): what follows in which state; an empty cell cannot "
        "happen": _transitions(),
        "What is refused in which state or further condition, and as which problem": _refusals(),
        "The channel between supervisor, zygote and worker (`ipc/rules.py`): an adopted "
        "worker's begins in `serving`; a message in any other state ends it": _messages(),
        "Who has the control channel (`worker/ownership.py`)": _of_docstring(ownership),
        "The TPM's power (`worker/power.py`)": _of_docstring(power),
        "Who may go on with a TPM whose state was read (`worker/handover.py`); an empty cell "
        "changes nothing": _hand_over(),
        "Control messages (`swtpm/table.py`)": _control(),
    }
    made = f"Made from the code by `{HOW}`."
    return "\n\n".join([made, *(f"{title}:\n\n{table}" for title, table in parts.items())])


def renewed(document: str) -> str:
    """docs/ARCHITECTURE.md with the state machines as they are."""
    return documents.renewed(document, "state machines", content())


if __name__ == "__main__":
    ARCHITECTURE.write_text(renewed(ARCHITECTURE.read_text()))

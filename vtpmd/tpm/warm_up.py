"""What is generated on first use, for a process that will fork: it is shared then."""

from .command import compile_commands
from .snapshot import prepare
from .state import LoadedObject, Session, StoredState, SuspendedState


def compile_ahead() -> None:
    """Generate what reads and writes commands and states."""
    for encoded in (StoredState, SuspendedState, LoadedObject, Session):
        prepare(encoded)
    compile_commands()

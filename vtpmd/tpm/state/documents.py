"""What is encoded as a whole: the groups of a state that are stored, or handed on, together."""

from dataclasses import dataclass

from .lifetimes import ClearState, OrderlyState, PermanentState, ResetState, VolatileState


@dataclass(slots=True)
class StoredState:
    """What survives a power cycle."""

    permanent: PermanentState
    reset: ResetState
    clear: ClearState


@dataclass(slots=True)
class SuspendedState:
    """What a power cycle would lose."""

    reset: ResetState
    clear: ClearState
    volatile: VolatileState
    orderly: OrderlyState

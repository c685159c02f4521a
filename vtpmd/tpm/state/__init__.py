"""The state of one TPM: data only, the rules that read and change it are in `core`.

`schema` encodes every dataclass found here by its field names and types, so a field is declared
once. A field with `repr=False` holds a secret or something that leads to one.
"""

from .documents import StoredState, SuspendedState
from .entities import (
    CountdownTimer,
    Entity,
    Hierarchy,
    LoadedObject,
    NvIndex,
    Pcr,
    Sequence,
    SignatureSequence,
)
from .lifetimes import (
    MAX_ACTIVE_SESSIONS,
    MAX_LOADED_OBJECTS,
    MAX_LOADED_SESSIONS,
    PCR_COUNT,
    ClearState,
    Countdown,
    DictionaryAttack,
    OrderlyState,
    PermanentState,
    ResetState,
    VolatileState,
)
from .sessions import PolicyState, Session
from .tpm import Tpm

__all__ = [
    "MAX_ACTIVE_SESSIONS",
    "MAX_LOADED_OBJECTS",
    "MAX_LOADED_SESSIONS",
    "PCR_COUNT",
    "ClearState",
    "Countdown",
    "CountdownTimer",
    "DictionaryAttack",
    "Entity",
    "Hierarchy",
    "LoadedObject",
    "NvIndex",
    "OrderlyState",
    "Pcr",
    "PermanentState",
    "PolicyState",
    "ResetState",
    "Sequence",
    "Session",
    "SignatureSequence",
    "StoredState",
    "SuspendedState",
    "Tpm",
    "VolatileState",
]

"""Which message is permitted to whom, when, and with how many descriptors: one table."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from .codec import Codec
from .identity import (
    Certified,
    Certify,
    Complete,
    Identified,
    Identify,
    Installed,
    Made,
    NotCertified,
    ReadInstalled,
    Recertify,
)
from .keepers import (
    HandedOn,
    HandOn,
    KeeperNotReplaced,
    KeeperPrepared,
    KeeperReplaced,
    KeeperSucceeded,
    ReplaceKeeper,
)
from .messages import (
    STATE_FDS,
    Admit,
    Admitted,
    Asleep,
    Awake,
    Bequeath,
    Bequest,
    ChangeHandOver,
    ChangeStoredHandOver,
    Copy,
    Detained,
    Event,
    Examine,
    Examined,
    Exit,
    Failed,
    ForgetBequest,
    GiveBack,
    GivesWay,
    GiveWay,
    HandOverChanged,
    HandOverRefused,
    Keep,
    KeeperUsed,
    LockoutNotReset,
    LockoutReset,
    Manufacture,
    NotAwake,
    NotUnwrapped,
    Pcrs,
    Prepared,
    ReadBequest,
    ReadExit,
    ReadPcrs,
    ReadSleepers,
    Ready,
    Rekey,
    Rekeyed,
    RekeyFailed,
    Reseal,
    ResetLockout,
    ResetStoredLockout,
    Rewrap,
    Serve,
    Sleepers,
    Spawn,
    Spawned,
    SpawnFailed,
    Status,
    StatusReply,
    Stop,
    Stopped,
    Stored,
    Succeed,
    Succeeded,
    Succession,
    TakenBack,
    UnwrapKey,
    Unwrapped,
    UseKeeper,
    WakeUp,
    ZygoteReady,
)


class State(Enum):
    """Where a channel is.

    An adopted worker's begins in SERVING, that between two in AWAITED, a worker's to the keeper in
    SUCCEEDED and the supervisor's in KEEPING, that between two keepers in KEEPER_AWAITED.
    """

    WARMING = "warming"
    ZYGOTE = "zygote"
    NEW = "new"
    ORDERED = "ordered"
    MADE = "made"
    STARTING = "starting"
    SERVING = "serving"
    STOPPING = "stopping"
    AWAITED = "successor awaited"
    GIVING_WAY = "giving way"
    SUCCEEDING = "succeeding"
    SUCCEEDED = "succeeded"
    RESTING = "resting"
    KEEPING = "keeping"
    KEEPER_AWAITED = "keeper awaited"
    HANDING_ON = "handing on"
    HANDED_ON = "handed on"
    ENDED = "ended"


class Side(Enum):
    """Who sends."""

    SUPERVISOR = "supervisor"
    WORKER = "worker"
    ZYGOTE = "zygote"
    PREDECESSOR = "predecessor"
    SUCCESSOR = "successor"
    KEEPER = "keeper"


@dataclass(frozen=True)
class Rule:
    """Who sends a message, in which states, how many file descriptors it carries, what follows."""

    sender: Side
    states: frozenset[State]
    then: State | None = None
    fds: Sequence[int] = (0,)

    @property
    def is_report(self) -> bool:
        """Whether it tells the supervisor something; it is an order otherwise."""
        return self.sender in (Side.WORKER, Side.ZYGOTE, Side.KEEPER)


MAX_CLIENTS = 16
"""How many clients of each of its two channels a worker serves, besides QEMU."""
_SERVE_FDS = (STATE_FDS + 3, STATE_FDS + 4)
BEQUEST_FDS = 3
"""QEMU's control and data connection, and the file in which progress is noted."""
_INHERITING_FDS = tuple(count + BEQUEST_FDS for count in _SERVE_FDS)
_GIVE_BACK_FDS = range(1 + _SERVE_FDS[0], 2 + _SERVE_FDS[1] + 2 * (MAX_CLIENTS + 1))
_SUCCESSION_FDS = range(_GIVE_BACK_FDS.start, _GIVE_BACK_FDS.stop + 1)
_HAND_ON_FDS = range(2, 2 + BEQUEST_FDS + _GIVE_BACK_FDS.stop)


def _rule(
    sender: Side, *states: State, then: State | None = None, fds: Sequence[int] = (0,)
) -> Rule:
    return Rule(sender, frozenset(states), then, fds)


RULES: dict[type, Rule] = {
    ZygoteReady: _rule(Side.ZYGOTE, State.WARMING, then=State.ZYGOTE),
    Spawn: _rule(Side.SUPERVISOR, State.ZYGOTE, fds=(1, 2)),
    Spawned: _rule(Side.ZYGOTE, State.ZYGOTE, fds=(1,)),
    SpawnFailed: _rule(Side.ZYGOTE, State.ZYGOTE),
    ReadExit: _rule(Side.SUPERVISOR, State.ZYGOTE),
    Exit: _rule(Side.ZYGOTE, State.ZYGOTE),
    Manufacture: _rule(Side.SUPERVISOR, State.NEW, then=State.ORDERED, fds=(STATE_FDS,)),
    Made: _rule(Side.WORKER, State.ORDERED, then=State.MADE),
    Complete: _rule(Side.SUPERVISOR, State.MADE, then=State.ORDERED),
    Recertify: _rule(Side.SUPERVISOR, State.NEW, then=State.ORDERED, fds=(STATE_FDS + 1,)),
    Copy: _rule(Side.SUPERVISOR, State.NEW, then=State.ORDERED, fds=(STATE_FDS + 1,)),
    Reseal: _rule(Side.SUPERVISOR, State.NEW, then=State.ORDERED, fds=(STATE_FDS + 1,)),
    ChangeStoredHandOver: _rule(
        Side.SUPERVISOR, State.NEW, then=State.ORDERED, fds=(STATE_FDS + 1,)
    ),
    Stored: _rule(Side.WORKER, State.ORDERED, then=State.ENDED),
    Examine: _rule(Side.SUPERVISOR, State.NEW, then=State.ORDERED, fds=(1,)),
    Examined: _rule(Side.WORKER, State.ORDERED, then=State.ENDED),
    Identify: _rule(Side.SUPERVISOR, State.NEW, then=State.ORDERED, fds=(1,)),
    Identified: _rule(Side.WORKER, State.ORDERED, then=State.ENDED),
    Serve: _rule(Side.SUPERVISOR, State.NEW, then=State.STARTING, fds=_SERVE_FDS + _INHERITING_FDS),
    Succeed: _rule(Side.SUPERVISOR, State.NEW, then=State.STARTING, fds=(1,)),
    Ready: _rule(Side.WORKER, State.STARTING, then=State.SERVING),
    Failed: _rule(Side.WORKER, State.ORDERED, State.STARTING, then=State.ENDED),
    Status: _rule(Side.SUPERVISOR, State.SERVING),
    StatusReply: _rule(Side.WORKER, State.SERVING, State.STOPPING),
    ReadPcrs: _rule(Side.SUPERVISOR, State.SERVING),
    Pcrs: _rule(Side.WORKER, State.SERVING, State.STOPPING),
    ReadInstalled: _rule(Side.SUPERVISOR, State.SERVING),
    Installed: _rule(Side.WORKER, State.SERVING, State.STOPPING),
    Certify: _rule(Side.SUPERVISOR, State.SERVING),
    Certified: _rule(Side.WORKER, State.SERVING, State.STOPPING),
    NotCertified: _rule(Side.WORKER, State.SERVING, State.STOPPING),
    Rekey: _rule(Side.SUPERVISOR, State.SERVING),
    Rewrap: _rule(Side.SUPERVISOR, State.SERVING),
    Rekeyed: _rule(Side.WORKER, State.SERVING, State.STOPPING),
    RekeyFailed: _rule(Side.WORKER, State.SERVING, State.STOPPING),
    ChangeHandOver: _rule(Side.SUPERVISOR, State.SERVING),
    HandOverChanged: _rule(Side.WORKER, State.ORDERED, State.SERVING, State.STOPPING),
    HandOverRefused: _rule(Side.WORKER, State.ORDERED, State.SERVING, State.STOPPING),
    ResetLockout: _rule(Side.SUPERVISOR, State.SERVING),
    ResetStoredLockout: _rule(Side.SUPERVISOR, State.NEW, then=State.ORDERED, fds=(STATE_FDS + 1,)),
    LockoutReset: _rule(Side.WORKER, State.ORDERED, State.SERVING, State.STOPPING),
    LockoutNotReset: _rule(Side.WORKER, State.ORDERED, State.SERVING, State.STOPPING),
    UnwrapKey: _rule(Side.WORKER, State.SERVING, State.STOPPING),
    Unwrapped: _rule(Side.SUPERVISOR, State.SERVING, State.STOPPING),
    NotUnwrapped: _rule(Side.SUPERVISOR, State.SERVING, State.STOPPING),
    Admit: _rule(Side.SUPERVISOR, State.SERVING),
    Admitted: _rule(Side.WORKER, State.SERVING, State.STOPPING),
    GiveWay: _rule(Side.SUPERVISOR, State.SERVING, fds=(2,)),
    GivesWay: _rule(Side.WORKER, State.SERVING, State.STOPPING),
    Prepared: _rule(Side.SUCCESSOR, State.AWAITED, then=State.GIVING_WAY),
    Succession: _rule(
        Side.PREDECESSOR, State.GIVING_WAY, then=State.SUCCEEDING, fds=_SUCCESSION_FDS
    ),
    Detained: _rule(Side.PREDECESSOR, State.GIVING_WAY, then=State.ENDED),
    Succeeded: _rule(Side.SUCCESSOR, State.SUCCEEDING, then=State.SUCCEEDED),
    GiveBack: _rule(Side.SUCCESSOR, State.SUCCEEDED, then=State.RESTING, fds=_GIVE_BACK_FDS),
    TakenBack: _rule(Side.PREDECESSOR, State.RESTING, then=State.ENDED),
    UseKeeper: _rule(Side.SUPERVISOR, State.SERVING, fds=(3,)),
    KeeperUsed: _rule(Side.WORKER, State.SERVING, State.STOPPING),
    Bequeath: _rule(Side.SUCCESSOR, State.SUCCEEDED, fds=(0, BEQUEST_FDS - 1)),
    Keep: _rule(Side.SUPERVISOR, State.KEEPING, fds=(3,)),
    ReadBequest: _rule(Side.SUPERVISOR, State.KEEPING),
    Bequest: _rule(Side.KEEPER, State.KEEPING, fds=(0, BEQUEST_FDS)),
    ForgetBequest: _rule(Side.SUPERVISOR, State.KEEPING),
    ReadSleepers: _rule(Side.SUPERVISOR, State.KEEPING),
    Sleepers: _rule(Side.KEEPER, State.KEEPING),
    Asleep: _rule(Side.KEEPER, State.KEEPING, fds=_GIVE_BACK_FDS),
    WakeUp: _rule(Side.SUPERVISOR, State.KEEPING),
    Awake: _rule(Side.KEEPER, State.KEEPING),
    NotAwake: _rule(Side.KEEPER, State.KEEPING),
    ReplaceKeeper: _rule(Side.SUPERVISOR, State.KEEPING, fds=(1,)),
    KeeperReplaced: _rule(Side.KEEPER, State.KEEPING),
    KeeperNotReplaced: _rule(Side.KEEPER, State.KEEPING),
    KeeperPrepared: _rule(Side.SUCCESSOR, State.KEEPER_AWAITED, then=State.HANDING_ON),
    HandOn: _rule(Side.PREDECESSOR, State.HANDING_ON, fds=_HAND_ON_FDS),
    HandedOn: _rule(Side.PREDECESSOR, State.HANDING_ON, then=State.HANDED_ON, fds=(2, 3)),
    KeeperSucceeded: _rule(Side.SUCCESSOR, State.HANDED_ON, then=State.ENDED),
    Stop: _rule(Side.SUPERVISOR, State.SERVING, then=State.STOPPING),
    Stopped: _rule(Side.WORKER, State.STOPPING, then=State.ENDED),
    Event: _rule(Side.WORKER, State.STARTING, State.SERVING, State.STOPPING),
}

CODEC = Codec(
    orders=tuple(cls for cls, rule in RULES.items() if not rule.is_report),
    reports=tuple(cls for cls, rule in RULES.items() if rule.is_report),
)

"""Who may use the admin socket, and how many at once: decided when they connect."""

import contextlib
from collections.abc import Callable
from typing import Final

import trio

from vtpmd.api import problems
from vtpmd.api.problems import OperationError
from vtpmd.config.schema import group_id
from vtpmd.linux.peers import Peer, PeerPolicy

from .quota import Quota

CONNECTIONS: Final = 256
CONNECTIONS_PER_USER: Final = 32
RESERVED_CONNECTIONS: Final = 2 * CONNECTIONS_PER_USER  # root's and the daemon's user's
LOOKUP_INTERVAL: Final = 15.0
LOOKUP_TIMEOUT: Final = 10.0


def administrators(group: str | None) -> PeerPolicy:
    """Who may use the admin socket: root, our own user and members of the group, if it exists."""
    with contextlib.suppress(ValueError):
        return PeerPolicy(gids=frozenset() if group is None else frozenset({group_id(group)}))
    return PeerPolicy()


class Admission:
    """Admits administrators, as many as there may be.

    Whether a peer is one is known without asking anybody: the kernel tells the peer's groups, and
    the id of the admin group is looked up beforehand, again every `LOOKUP_INTERVAL` seconds.
    `open_to_group` is called with it then, whenever it is another one, and with None when a group
    is no longer the admin group.
    """

    def __init__(
        self, group: str | None, open_to_group: Callable[[int | None], None] = lambda group: None
    ) -> None:
        self._group = group
        self._open_to_group = open_to_group
        self._policy = administrators(None)
        self._connections = Quota(CONNECTIONS, CONNECTIONS_PER_USER, RESERVED_CONNECTIONS)

    async def follow(self, group: str | None) -> None:
        """Admit the members of another group from now on; who is connected stays so."""
        self._group = group
        self._policy = administrators(None)
        await trio.to_thread.run_sync(self._open_to_group, None)
        await self.look_up_group()

    async def look_up_group(self) -> None:
        """Find out the id of the admin group. As long as nobody answers, the last one holds."""
        if (name := self._group) is None:
            return
        found = None
        with trio.move_on_after(LOOKUP_TIMEOUT):
            found = await trio.to_thread.run_sync(administrators, name, abandon_on_cancel=True)
        if found is None or name != self._group:  # another one is the admin group meanwhile
            return
        before, self._policy = self._policy.gids, found
        for group in found.gids - before:
            await trio.to_thread.run_sync(self._open_to_group, group)

    async def keep_group_current(self) -> None:
        """Look the admin group up again and again, if there is one."""
        while True:
            await trio.sleep(LOOKUP_INTERVAL)
            await self.look_up_group()

    def admit(self, peer: Peer) -> None:
        """Count a connection of the peer's, until `leave`. Raises OperationError if refused."""
        if not self._policy.permits(peer):
            raise OperationError(problems.FORBIDDEN, self._explanation(peer.uid))
        if not self._connections.take(peer.uid):
            raise OperationError(
                problems.BUSY, f"There are too many connections, or too many of user {peer.uid}."
            )

    def leave(self, peer: Peer) -> None:
        """A connection that was admitted has ended."""
        self._connections.give(peer.uid)

    def _explanation(self, uid: int) -> str:
        who = f"User {uid} may not use the admin socket: only root and the daemon's user may"
        if self._group is None:
            return f"{who}, as no admin group is configured."
        return f"{who}, and members of the group {self._group}."

"""Who may connect to the sockets of an instance, beside root and the daemon's own user."""

from dataclasses import dataclass

from vtpmd.api import problems
from vtpmd.api.problems import OperationError
from vtpmd.config.schema import Sockets, group_id, user_id
from vtpmd.ipc.messages import Admit

from .errors import EndpointError
from .metadata import Metadata

OWN_MODE = "0660"
"""Of sockets that have an owner of their own, unless their mode is their own, too."""


@dataclass(frozen=True)
class Grant:
    """An `Access` by number. `order`: what the worker is told, who asks the kernel who connects."""

    owner: int | None
    group: int | None
    mode: int

    @property
    def order(self) -> Admit:
        return Admit(
            # A socket that everybody may connect to, by its mode, is meant for everybody.
            check_peers=not self.mode & 0o002,
            peer_uids=() if self.owner is None else (self.owner,),
            peer_gids=() if self.group is None or not self.mode & 0o020 else (self.group,),
        )


@dataclass(frozen=True)
class Access:
    """Owner and group in words: names or numbers. `own`: they are not those of the configuration.

    An instance with an owner of its own has no group but the one that is named with it.
    """

    owner: str | None
    group: str | None
    mode: int
    own: bool

    @classmethod
    def of(cls, settings: Sockets, metadata: Metadata) -> "Access":
        """What holds for an instance on a host with these settings."""
        if metadata.owner is None:
            mode = settings.mode if metadata.mode is None else int(metadata.mode, 8)
            return cls(settings.owner, settings.group, mode, own=False)
        user, colon, group = metadata.owner.partition(":")
        mode = int(metadata.mode or OWN_MODE, 8)
        return cls(user or None, group if colon else None, mode, own=True)

    def grant(self) -> Grant:
        """The same by number. Raises ValueError when there is no such user or group."""
        return Grant(
            None if self.owner is None else user_id(self.owner),
            None if self.group is None else group_id(self.group),
            self.mode,
        )


def granted(settings: Sockets, metadata: Metadata) -> Grant:
    """Who may connect to an instance now. Raises EndpointError when a user or group is gone."""
    access = Access.of(settings, metadata)
    try:
        return access.grant()
    except ValueError as error:
        way = f"`vtpmctl set {metadata.name} --owner`" if access.own else "`sockets:` of vtpmd.yaml"
        raise EndpointError(f"{error}; {way} gives its sockets to somebody else") from None


def check_access(settings: Sockets, metadata: Metadata) -> None:
    """Raise OperationError if an instance shall have an owner or a group that is not there."""
    access = Access.of(settings, metadata)
    try:
        if access.own:
            access.grant()
    except ValueError as error:
        raise OperationError(problems.INVALID, f"owner: {error}") from None

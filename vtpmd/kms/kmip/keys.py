"""The KEKs of a KMIP server: finding, making and destroying those of an instance.

The KEKs of an instance are named after it: version 1 is `<prefix><uuid>`, version 2
`<prefix><uuid>.2`. Keys are found by name, so an interrupted operation is completed by the next.
"""

from dataclasses import dataclass
from uuid import UUID

from ..errors import KeyUnavailableError
from ..key_names import MAX_VERSIONS, version_of, versioned
from . import operations
from .client import Client
from .constants import DESTROYED, ResultReason, State
from .messages import OperationFailedError


@dataclass(frozen=True)
class Kek:
    """A KEK: its name, and the server's identifier of it, which never changes."""

    name: str
    identifier: str


class Keys:
    """The keys that one client sees. Methods raise OperationFailedError and KeyUnavailableError."""

    def __init__(self, client: Client, sensitive: bool) -> None:
        self._client = client
        self._sensitive = sensitive

    async def check_active(self, identifier: str) -> None:
        """Raise KeyUnavailableError unless the key is fit for use."""
        state = await self.state(identifier)
        if state is None:
            raise KeyUnavailableError(
                f"key {identifier} does not exist at the KMIP server {self._client.server}, "
                "or is not shown to this client",
                retry=False,
            )
        if state != State.ACTIVE:
            raise KeyUnavailableError(
                f"key {identifier} at the KMIP server {self._client.server} is in state {state}: "
                "only Active keys are used",
                retry=False,
            )

    async def state(self, identifier: str) -> State | None:
        """The state of a key, None if the server has no such key."""
        try:
            return await self._client.call(operations.get_state(identifier))
        except OperationFailedError as error:
            if error.reason == ResultReason.ITEM_NOT_FOUND:
                return None
            raise

    async def exists(self, identifier: str) -> bool:
        """Whether there is such a key, and it is not destroyed."""
        return await self.state(identifier) not in (None, *DESTROYED)

    async def named(self, name: str) -> dict[str, State]:
        """The keys with this name that are not destroyed, and their states."""
        found = await self._client.call(operations.locate(name))
        states = {identifier: await self.state(identifier) for identifier in found}
        return {
            identifier: state
            for identifier, state in states.items()
            if state is not None and state not in DESTROYED
        }

    async def usable(self, keys: dict[str, State]) -> str | None:
        """One of `keys` that is Active, else a Pre-Active one, which is activated, else None."""
        for wanted in (State.ACTIVE, State.PRE_ACTIVE):
            for identifier, state in keys.items():
                if state == wanted:
                    if state == State.PRE_ACTIVE:
                        await self._client.call(operations.activate(identifier))
                    return identifier
        return None

    async def make(self, name: str) -> str:
        """Create and activate a key."""
        identifier = await self._client.call(operations.create(name, self._sensitive))
        await self._client.call(operations.activate(identifier))
        return identifier

    async def destroy(self, identifier: str, state: State) -> None:
        """Destroy a key in this state permanently."""
        if state == State.ACTIVE:
            await self._client.call(operations.revoke(identifier))
        await self._client.call(operations.destroy(identifier))


class InstanceKeys:
    """One key per instance and version, named with `prefix`."""

    def __init__(self, keys: Keys, prefix: str) -> None:
        self._keys = keys
        self._prefix = prefix

    def base(self, uuid: UUID) -> str:
        """The beginning of the names of all the instance's keys."""
        return f"{self._prefix}{uuid}"

    def version(self, uuid: UUID, name: str) -> int | None:
        """The version of the instance's key that has this name; None if no version has it."""
        return version_of(name, self.base(uuid))

    async def newest(self, uuid: UUID, first: int = 1) -> Kek:
        """The newest usable key from version `first` on, made if it is missing."""
        newest = None
        version = first
        while keys := await self._keys.named(name := self._name(uuid, version)):
            if identifier := await self._keys.usable(keys):
                newest = Kek(name, identifier)
            version += 1
        return newest or Kek(name, await self._keys.make(name))

    async def all(self, uuid: UUID, known: int) -> dict[str, State]:
        """The keys of all versions, of which there are at least `known`, and their states."""
        found: dict[str, State] = {}
        version = 1
        while (keys := await self._keys.named(self._name(uuid, version))) or version <= known:
            found |= keys
            version += 1
        return found

    def _name(self, uuid: UUID, version: int) -> str:
        if version > MAX_VERSIONS:
            raise KeyUnavailableError(
                f"instance {uuid} would have more than {MAX_VERSIONS} keys", retry=False
            )
        return versioned(self.base(uuid), version)


class SharedKey:
    """One key for all instances, the one with this name."""

    def __init__(self, keys: Keys, name: str) -> None:
        self._keys = keys
        self._name = name

    async def find(self) -> Kek:
        """The key, activated if need be. Raises KeyUnavailableError if it has no usable key."""
        found = await self._keys.named(self._name)
        identifier = await self._keys.usable(found)
        if identifier is None:
            states = ", ".join(str(state) for state in found.values())
            raise KeyUnavailableError(
                f"no key named {self._name} is Active"
                + (f": it is {states}" if found else ", or shown to this client"),
                retry=False,
            )
        return Kek(self._name, identifier)

    async def make(self) -> bool:
        """Create the key unless it exists in any state; return whether it was created."""
        if await self._keys.named(self._name):
            return False
        await self._keys.make(self._name)
        return True

"""The instances of this host, by name, UUID and identity."""

import contextlib
from collections.abc import AsyncIterator, Iterator
from uuid import UUID

import trio

from vtpmd.api import problems
from vtpmd.api.problems import OperationError
from vtpmd.telemetry.log import get_logger

from .host import Host
from .instance import Instance
from .metadata import Metadata, as_uuid
from .naming import check_name
from .registry import Entry
from .tally import begin

log = get_logger("fleet")


class Fleet:
    """The host and its instances, on which all operations work."""

    def __init__(self, host: Host) -> None:
        self.host = host
        begin(host.metrics)
        self._instances: dict[UUID, Instance] = {}
        self._names: dict[str, Instance] = {}
        self._identities: dict[UUID, dict[UUID, Instance]] = {}
        self._reserved: set[str | UUID] = set()
        self._turns: dict[str, trio.Lock] = {}

    async def open(self, entries: list[Entry]) -> None:
        """Resume the registry's instances: adopt living workers, start what was running."""
        orphans: dict[str, list[str]] = {}
        async with trio.open_nursery() as nursery:
            for entry in entries:
                instance = self.add(entry)
                for provider in sorted(entry.providers):
                    if not self.host.keys.known(provider):
                        orphans.setdefault(provider, []).append(entry.metadata.name)
                nursery.start_soon(self._open, instance, entry)
        for provider, instances in sorted(orphans.items()):
            log.warning("key-provider-not-configured", provider=provider, instances=instances)

    async def _open(self, instance: Instance, entry: Entry) -> None:
        if await instance.open():
            return
        if self.host.keeper is not None:
            await self.host.keeper.disinherit(entry.metadata.uuid)
        if entry.providers and not any(map(self.host.keys.known, entry.providers)):
            missing = ", ".join(sorted(entry.providers))
            instance.lock(f"its key provider is not configured: {missing}")

    def __iter__(self) -> Iterator[Instance]:
        """The instances by name."""
        return iter([self._names[name] for name in sorted(self._names)])

    def find(self, name: str) -> Instance:
        """The instance of this name or UUID. Raises OperationError."""
        instance = self._names.get(name)
        if instance is None and (uuid := as_uuid(name)) is not None:
            instance = self._instances.get(uuid)
        if instance is None:
            raise OperationError(problems.NOT_FOUND, f"There is no instance {name!r}.")
        return instance

    def get(self, uuid: UUID) -> Instance | None:
        """The instance of this UUID, if there is one."""
        return self._instances.get(uuid)

    def add(self, entry: Entry) -> Instance:
        """Add an instance that is in the registry."""
        instance, metadata = Instance(entry, self.host), entry.metadata
        self._instances[metadata.uuid] = self._names[metadata.name] = instance
        self._identities.setdefault(metadata.identity, {})[metadata.uuid] = instance
        return instance

    def renamed(self, before: str, instance: Instance) -> None:
        """An instance has another name from now on."""
        del self._names[before]
        self._names[instance.metadata.name] = instance

    def drop(self, uuid: UUID) -> None:
        """Forget an instance that is no longer in the registry."""
        metadata = self._instances.pop(uuid).metadata
        del self._names[metadata.name]
        sharing = self._identities[metadata.identity]
        del sharing[uuid]
        if not sharing:
            del self._identities[metadata.identity]

    def sharing_identity(self, metadata: Metadata) -> tuple[str, ...]:
        """The names of the other instances that have the same secrets."""
        sharing = self._identities.get(metadata.identity, {})
        others = (each for uuid, each in sharing.items() if uuid != metadata.uuid)
        return tuple(sorted(each.metadata.name for each in others))

    @contextlib.asynccontextmanager
    async def turn(self, word: str) -> AsyncIterator[None]:
        """One after the other, where several come with the same word."""
        lock = self._turns.setdefault(word, trio.Lock())
        try:
            async with lock:
                yield
        finally:
            if not lock.locked():
                self._turns.pop(word, None)

    @contextlib.contextmanager
    def reserved(self, metadata: Metadata, replacing: Instance | None = None) -> Iterator[None]:
        """Reserve name and UUID for a new instance, which may be `replacing` another.

        Raises OperationError if the name is not permitted, or name or UUID is taken.
        """
        name, uuid = metadata.name, metadata.uuid
        check_name(self.host.configuration, name, uuid)
        holders: dict[str | UUID, Instance | None] = {
            name: self._names.get(name),
            uuid: self._instances.get(uuid),
        }
        for word, holder in holders.items():
            if word in self._reserved or holder not in (None, replacing):
                raise OperationError(problems.EXISTS, f"There is an instance {word} already.")
        self._reserved.update(holders)
        try:
            yield
        finally:
            self._reserved.difference_update(holders)

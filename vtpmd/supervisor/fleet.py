"""The instances of this host, by name and UUID."""

import contextlib
from collections.abc import Iterator
from uuid import UUID

from vtpmd.api import problems
from vtpmd.api.problems import OperationError

from .host import Host
from .instance import Instance
from .metadata import Metadata
from .registry import Entry


class Fleet:
    """What all operations work on: the host's parts and its instances."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._instances: dict[UUID, Instance] = {}
        self._coming: set[str] = set()

    def __iter__(self) -> Iterator[Instance]:
        """The instances by name."""
        return iter(sorted(self._instances.values(), key=lambda each: each.metadata.name))

    def find(self, name: str) -> Instance:
        """The instance of this name or UUID. Raises OperationError."""
        for instance in self._instances.values():
            if name in (instance.metadata.name, str(instance.metadata.uuid)):
                return instance
        raise OperationError(problems.NOT_FOUND, f"There is no instance {name!r}.")

    def get(self, uuid: UUID) -> Instance | None:
        """The instance of this UUID, if there is one."""
        return self._instances.get(uuid)

    def add(self, entry: Entry) -> Instance:
        """Take an instance in that is in the registry."""
        instance = self._instances[entry.metadata.uuid] = Instance(entry, self.host)
        return instance

    def drop(self, uuid: UUID) -> None:
        """Forget an instance that is in the registry no more."""
        del self._instances[uuid]

    def twins(self, metadata: Metadata) -> list[str]:
        """The names of the other instances that have the same secrets."""
        return [
            each.metadata.name
            for each in self
            if each.metadata.identity == metadata.identity and each.metadata.uuid != metadata.uuid
        ]

    @contextlib.contextmanager
    def reserved(self, metadata: Metadata) -> Iterator[None]:
        """Keep name and UUID for a new instance. Raises OperationError if either is taken."""
        with self._keeping(metadata, list(self._instances.values())):
            yield

    @contextlib.contextmanager
    def replacing(self, old: Instance, metadata: Metadata) -> Iterator[None]:
        """Like `reserved`, for a new instance that will take the place of `old`."""
        with self._keeping(metadata, [each for each in self if each is not old]):
            yield

    @contextlib.contextmanager
    def _keeping(self, metadata: Metadata, others: list[Instance]) -> Iterator[None]:
        taken = self._coming | {
            word
            for instance in others
            for word in (instance.metadata.name, str(instance.metadata.uuid))
        }
        ours = {metadata.name, str(metadata.uuid)}
        if both := sorted(ours & taken):
            raise OperationError(problems.EXISTS, f"There is an instance {both[0]} already.")
        self._coming |= ours
        try:
            yield
        finally:
            self._coming -= ours

"""A rekey that is cut short anywhere: all opens with the old key, or all with the new one."""

from pathlib import Path

import pytest

from tests.worker.harness import DEK_ID, INSTANCE, SLOTS, dek, directory
from vtpmd.storage.errors import EnvelopeError, StorageError
from vtpmd.storage.store import Store
from vtpmd.swtpm.table import BlobType
from vtpmd.worker.persistence import Key, Persistence

NEW_DEK_ID = bytes(range(16, 32))
OPERATIONS = 6
"""More than a rekey takes."""


class CutError(BaseException):
    """The process ends here; nothing catches it."""


class CutStore(Store):
    """Ends with the operation that changes files after `left` others."""

    left = 1 << 30

    def write(self, name: str, data: bytes | bytearray) -> None:
        self._count()
        super().write(name, data)

    def remove(self, name: str) -> None:
        self._count()
        super().remove(name)

    def _count(self) -> None:
        if not self.left:
            raise CutError
        self.left -= 1


def _old() -> Key:
    return Key(dek(), DEK_ID, SLOTS)


def _new() -> Key:
    return Key(bytearray(b"\xa5" * 32), NEW_DEK_ID, SLOTS)


def _opened(fd: int, key: Key) -> tuple[bytes, bytes | None] | None:
    """Permanent and volatile state under this key, None if it is not the key."""
    with Store(fd) as store:
        persistence = Persistence(store, INSTANCE, key)
        try:
            permanent = persistence.load()
        except EnvelopeError:
            return None
        return permanent, persistence.load_volatile()


@pytest.mark.parametrize("volatile", [None, b"volatile"])
@pytest.mark.parametrize("operations", range(OPERATIONS + 1))
def test_a_rekey_cut_short_is_finished_or_forgotten(
    tmp_path: Path, operations: int, volatile: bytes | None
) -> None:
    with directory(tmp_path) as fd:
        with CutStore(fd) as store:
            persistence = Persistence(store, INSTANCE, _old())
            persistence.create(b"permanent")
            if volatile is not None:
                persistence.save_volatile(volatile)
            store.left = operations
            cut = False
            try:
                persistence.rekey(_new(), b"permanent")
            except CutError:
                cut = True
        found = _opened(fd, _old()) or _opened(fd, _new())
        assert found == (b"permanent", volatile)
        if operations == OPERATIONS:
            assert not cut
            assert _opened(fd, _new()) == found
        if operations == 0:
            assert cut
            assert _opened(fd, _old()) == found


def test_a_rekey_that_cannot_be_stored_leaves_the_old_key_in_force(tmp_path: Path) -> None:
    class Full(Store):
        def write(self, name: str, data: bytes | bytearray) -> None:
            raise StorageError("full", "no space")

    with directory(tmp_path) as fd, Full(fd) as store:
        persistence = Persistence(store, INSTANCE, _old())
        persistence.create(b"permanent")
        with pytest.raises(StorageError):
            persistence.rekey(_new(), b"permanent")
        assert persistence.key.dek_id == DEK_ID
        blob = persistence.export(BlobType.PERMANENT, b"state")
        assert persistence.import_(BlobType.PERMANENT, blob) == (b"state", 1)
        assert _opened(fd, _old()) == (b"permanent", None)

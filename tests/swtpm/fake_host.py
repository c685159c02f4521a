"""A host without a TPM: it records what the control channel asks of it."""

from vtpmd.swtpm.host import ChannelSettings, Connection, ControlError
from vtpmd.swtpm.table import BlobType, Result

BUFFER_SIZES = (2808, 4096)


class FakeHost(ChannelSettings):
    """Implements every role of `swtpm.host.Host`; `calls` is what happened to the TPM."""

    def __init__(self) -> None:
        super().__init__()
        self.settings = self
        self.power = self.measurement = self.migration = self
        self.running = False
        self.buffer_sizes = BUFFER_SIZES
        self.established = False
        self.calls: list[object] = []
        self.blobs: dict[BlobType, bytes] = {}

    def init(self, connection: Connection, *, delete_volatile: bool) -> None:
        self.calls.append(("init", delete_volatile))
        self.running = True

    def stop(self) -> None:
        self.calls.append("stop")
        self.running = False

    def shutdown(self, connection: Connection) -> None:
        self.calls.append("shutdown")
        self.running = False

    def cancel(self) -> None:
        self.calls.append("cancel")

    def reset_established(self, locality: int) -> bool:
        self.calls.append(("reset", locality))
        return locality in (3, 4)

    def hash_start(self) -> None:
        self.calls.append("hash-start")

    def hash_data(self, data: bytes) -> None:
        # Pieces are joined: where a stream was cut must make no difference.
        if self.calls and isinstance(self.calls[-1], bytes):
            self.calls[-1] += data
        else:
            self.calls.append(data)

    def hash_end(self) -> None:
        self.calls.append("hash-end")

    def store_volatile(self) -> None:
        self.calls.append("store-volatile")

    def state_blob(self, connection: Connection, kind: BlobType) -> bytes:
        return bytes([kind]) * 5000

    def set_state_blob(self, connection: Connection, kind: BlobType, data: bytes) -> None:
        if kind is BlobType.SAVESTATE:
            raise ControlError(Result.BAD_PARAMETER)
        self.blobs[kind] = data

    def hand_over(self, connection: Connection) -> None:
        self.calls.append("hand-over")

    def lock_storage(self, connection: Connection) -> None:
        self.calls.append("lock-storage")

    def disconnected(self, connection: Connection) -> None:
        self.calls.append("disconnected")

    def info(self, mask: int) -> dict[str, object]:
        return {"mask": mask, "long": "x" * 4000} if mask & 1 else {}

"""How far an operation on several instances is, told while it goes on."""

from collections.abc import Callable

from vtpmd.api.problems import OperationError
from vtpmd.api.schema import Failure, Progress

Tell = Callable[[Progress], None]


def silent(_: Progress) -> None:
    """Tell nobody."""


class Tracker:
    """Counts which of `all` instances are done, and tells of each."""

    def __init__(self, all_: int, tell: Tell) -> None:
        self.failed: list[Failure] = []
        self._all = all_
        self._done = 0
        self._tell = tell

    def done(self, name: str, refused: OperationError | None = None) -> None:
        """One is done, or was refused."""
        failure = None
        if refused is not None:
            failure = Failure(name=name, code=refused.problem.code, detail=refused.detail)
            self.failed.append(failure)
        self._done += 1
        self._tell(Progress(done=self._done, all=self._all, name=name, failure=failure))

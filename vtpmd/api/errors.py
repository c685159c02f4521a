"""The error that a client raises, whether the daemon or the client itself found the failure."""

from typing import Final

from . import names, problems
from .problems import Problem

# Found by the client itself: no daemon sends them, so they have no HTTP status.
UNREACHABLE: Final = Problem(
    "unreachable", 0, names.EXIT_UNREACHABLE, "The daemon cannot be reached"
)
FILE: Final = Problem("file", 0, names.EXIT_FILE, "A file cannot be read or written")


class ClientError(Exception):
    """A request did not succeed.

    `problem` is the kind of failure, `detail` the text for the person who asked; `document` is
    what the daemon sent about it, fields included that are unknown here.
    """

    def __init__(
        self, problem: Problem, detail: str, document: dict[str, object] | None = None
    ) -> None:
        super().__init__(detail)
        self.problem = problem
        self.detail = detail
        self.document = document or {"code": problem.code, "detail": detail}

    @property
    def exit_status(self) -> int:
        """What a program ends with that can do nothing else about it."""
        return self.problem.exit_status

    @classmethod
    def from_document(cls, document: object) -> "ClientError":
        """The failure that a problem document tells.

        A kind of failure that only a newer daemon knows is an internal error with its text.
        """
        if not isinstance(document, dict) or not isinstance(document.get("code"), str):
            return cls(problems.INTERNAL, "The daemon's answer is not understood.")
        problem = problem_of(document["code"])
        detail = document.get("detail")
        return cls(problem, detail if isinstance(detail, str) else problem.title, document)


def problem_of(code: str) -> Problem:
    """The kind of failure with this code; of an unknown one only the code is known."""
    return problems.PROBLEMS.get(code) or problems.INTERNAL._replace(code=code)

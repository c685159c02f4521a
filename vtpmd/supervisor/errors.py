"""Why an operation on an instance was not done; the admin server turns it into a problem."""

from vtpmd.admin.names import Problem


class OperationRefused(Exception):
    """`problem` is the kind of failure; the text is written for the person who asked."""

    def __init__(self, problem: Problem, detail: str) -> None:
        super().__init__(detail)
        self.problem = problem
        self.detail = detail


class AlreadyRunning(Exception):
    """Another daemon uses this state or runtime directory."""

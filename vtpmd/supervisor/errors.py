"""What can go wrong in the supervisor; the text of every error is written for people."""

from vtpmd.ipc.messages import FailureKind


class SupervisorError(Exception):
    """The supervisor could not do something; the text says why."""


class KeyMissingError(SupervisorError):
    """No key can be had; `retry`: that may change by itself."""

    def __init__(self, reason: str, retry: bool) -> None:
        super().__init__(reason)
        self.retry = retry


class EndpointError(SupervisorError):
    """The sockets of an instance cannot be as they are configured."""


class WorkerEndedError(SupervisorError):
    """The worker is gone, or no longer talks sense."""


class WorkerSilentError(WorkerEndedError):
    """The worker did not answer in time; it may live, and do what it did before."""


class WorkerFailedError(SupervisorError):
    """The worker could not carry out an order or serve; nothing on disk was touched."""

    def __init__(self, kind: FailureKind, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


class KeeperLostError(SupervisorError):
    """The keeper of sleeping TPMs has ended, or does not answer."""


class HandOverRefusedError(SupervisorError):
    """The state of hand-over of a TPM does not permit that."""


class RolledBackError(SupervisorError):
    """The stored state of a TPM is not what this host has seen last of it."""


class WorkerRefusedError(SupervisorError):
    """The worker did not do what it was asked for, and goes on as before."""

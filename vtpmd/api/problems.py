"""Why a request was not carried out: the kinds of failure and their statuses."""

from typing import Final, NamedTuple


class Problem(NamedTuple):
    """A kind of failure: its code, HTTP status, vtpmctl's exit status and title."""

    code: str
    status: int
    exit_status: int
    title: str


INVALID: Final = Problem("invalid", 400, 2, "The request is not valid")
FORBIDDEN: Final = Problem("forbidden", 403, 4, "Not permitted")
NOT_FOUND: Final = Problem("not-found", 404, 5, "No such instance")
NO_PROVIDER: Final = Problem("no-such-provider", 404, 5, "No such key provider")
NO_SNAPSHOT: Final = Problem("no-such-snapshot", 404, 5, "No such snapshot")
NO_AUTHORITY: Final = Problem("no-such-authority", 404, 5, "There is no own authority")
NO_CERTIFICATE: Final = Problem("no-such-certificate", 404, 5, "No such certificate")
NO_ROUTE: Final = Problem("no-such-operation", 404, 2, "No such operation")
NO_METHOD: Final = Problem("no-such-method", 405, 2, "The operation has no such method")
TOO_LARGE: Final = Problem("too-large", 413, 2, "The request is too large")
TIMEOUT: Final = Problem("timeout", 408, 1, "The request did not arrive in time")
KEY_REUSED: Final = Problem("idempotency-key-reused", 422, 2, "The key belongs to another request")
EXISTS: Final = Problem("exists", 409, 6, "The instance exists")
RUNNING_CONFLICT: Final = Problem("running", 409, 7, "The instance is running")
IN_USE: Final = Problem("in-use", 409, 7, "A machine uses the instance")
NOT_RUNNING: Final = Problem("not-running", 409, 7, "The instance is not running")
HANDED_OVER: Final = Problem("handed-over", 409, 7, "Its state of hand-over does not permit it")
STILL_TO_COME: Final = Problem("still-to-come", 409, 7, "Its TPM is still to come")
KEY_UNAVAILABLE: Final = Problem("key-unavailable", 503, 8, "The key is not available")
STATE_REFUSED: Final = Problem("state-refused", 500, 9, "The stored TPM state was refused")
UNCONFIRMED: Final = Problem("unconfirmed", 409, 11, "The operation needs a confirmation")
UNTRUSTED: Final = Problem("untrusted", 409, 11, "The keys of the TPM are not known")
BUNDLE_REFUSED: Final = Problem("bundle-refused", 422, 12, "The file was refused")
KEYS_REFUSED: Final = Problem("keys-refused", 422, 12, "The keys or the passphrase were refused")
CERTIFICATES_REFUSED: Final = Problem(
    "certificates-refused", 422, 12, "The certificates were refused"
)
UNAVAILABLE: Final = Problem("unavailable", 503, 10, "The operation is not available here")
BUSY: Final = Problem("busy", 503, 10, "The daemon is busy")
INTERNAL: Final = Problem("internal", 500, 1, "Internal error")

PROBLEMS: Final = {
    problem.code: problem
    for problem in (
        INVALID,
        FORBIDDEN,
        NOT_FOUND,
        NO_PROVIDER,
        NO_SNAPSHOT,
        NO_AUTHORITY,
        NO_CERTIFICATE,
        NO_ROUTE,
        NO_METHOD,
        TOO_LARGE,
        TIMEOUT,
        KEY_REUSED,
        EXISTS,
        RUNNING_CONFLICT,
        IN_USE,
        NOT_RUNNING,
        HANDED_OVER,
        STILL_TO_COME,
        KEY_UNAVAILABLE,
        STATE_REFUSED,
        UNCONFIRMED,
        UNTRUSTED,
        BUNDLE_REFUSED,
        KEYS_REFUSED,
        CERTIFICATES_REFUSED,
        UNAVAILABLE,
        BUSY,
        INTERNAL,
    )
}


class OperationError(Exception):
    """An operation was refused or failed.

    `problem` is the kind of failure; the text is written for the person who asked.
    """

    def __init__(self, problem: Problem, detail: str) -> None:
        super().__init__(detail)
        self.problem = problem
        self.detail = detail

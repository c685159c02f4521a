"""Read files with evidence; the message and exit status when one is refused."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NoReturn, TypeVar

from vtpmd.api.errors import ClientError
from vtpmd.api.problems import Problem
from vtpmd.attest.errors import CertificateError, MalformedError, NotProvenError
from vtpmd.attest.verdict import Status

from . import files

T = TypeVar("T")

MALFORMED: Final = Problem("malformed", 0, Status.MALFORMED, "The file is malformed")
NOT_PROVEN: Final = Problem("not-proven", 0, Status.AK_NOT_PROVEN, "The key is not proven")
CERTIFICATE: Final = Problem("certificate", 0, Status.CERTIFICATE, "A certificate is not believed")


def read(path: Path, limit: int) -> bytes:
    """The content of a file, or one octet more than `limit`, which whoever parses it refuses."""
    return files.read_some(path, limit + 1)


def parsed(path: Path, limit: int, parse: Callable[[bytes], T]) -> T:
    """What a file holds. Raises ClientError."""
    content = read(path, limit)
    with refusing(str(path)):
        return parse(content)


@contextmanager
def refusing(what: str) -> Iterator[None]:
    """Errors of the verifier as ClientError."""
    try:
        yield
    except MalformedError as error:
        raise ClientError(MALFORMED, f"{what}: {error}") from None
    except CertificateError as error:
        raise ClientError(CERTIFICATE, f"{what}: {error}") from None
    except NotProvenError as error:
        raise ClientError(NOT_PROVEN, f"{what}: {error}") from None


def end(status: Status) -> NoReturn:
    """End with a verdict's status."""
    sys.exit(int(status))

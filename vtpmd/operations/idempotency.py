"""A request that is sent again does nothing more: what its key has made is noted with that."""

import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from vtpmd.api import names, problems
from vtpmd.api.codec import encode_request
from vtpmd.api.problems import OperationError
from vtpmd.api.schema import Request
from vtpmd.supervisor.fleet import Fleet
from vtpmd.supervisor.instance import Instance

LIFETIME: Final = timedelta(days=1)
"""For how long a key belongs to the request it came with."""


class Mark(NamedTuple):
    """A key and what was asked with it, hashed: neither has to be kept for this."""

    key: str
    asked: str

    def __str__(self) -> str:
        return f"{self.key}:{self.asked}"


def mark(key: str, request: Request) -> Mark:
    """What is noted of a request with a key; how its JSON was written does not matter."""
    asked = json.dumps(encode_request(request), sort_keys=True)
    return Mark(_hashed(key), _hashed(asked))


def made_before(fleet: Fleet, mark: Mark) -> Instance | None:
    """The instance that the request with this mark has made lately.

    Raises OperationError if another request with the same key has made one.
    """
    oldest = datetime.now(UTC) - LIFETIME
    for instance in fleet:
        key, _, asked = instance.metadata.made_for.partition(":")
        if key != mark.key or instance.metadata.created < oldest:
            continue
        if asked == mark.asked:
            return instance
        raise OperationError(
            problems.KEY_REUSED,
            f"{names.IDEMPOTENCY_KEY}: another request with this key has made "
            f"{instance.metadata.name}.",
        )
    return None


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()

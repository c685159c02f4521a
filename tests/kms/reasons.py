"""What providers say when a key is out of reach."""

from collections.abc import Awaitable

import pytest

from vtpmd.kms.errors import KeyUnavailableError


async def reason(attempt: Awaitable[object], retry: bool = False) -> str:
    """Why an attempt says that its key is out of reach, with `retry` as expected."""
    with pytest.raises(KeyUnavailableError) as caught:
        await attempt
    assert caught.value.retry is retry, caught.value.reason
    return caught.value.reason

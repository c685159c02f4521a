from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.worker.harness import Host, Zygote


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    zygote = Zygote()
    yield zygote
    zygote.close()


@pytest.fixture
def host(zygote: Zygote, tmp_path: Path) -> Iterator[Host]:
    """An instance that is manufactured and not served yet."""
    host = Host(zygote, tmp_path)
    try:
        host.manufacture()
        yield host
    finally:
        host.close()

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.standalone.process import Place


@pytest.fixture
def place(short_path: Path) -> Iterator[Place]:
    place = Place(short_path)
    yield place
    place.close()

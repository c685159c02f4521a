"""A TPM for each module of tests, freshly cleared for each test."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.tools import Tools, fresh
from tests.peers.instance import Instance
from tests.peers.swtpm import SwtpmInstance
from tests.peers.vtpmd import Vtpmd


@pytest.fixture(scope="session")
def served(peer: str) -> Iterator[Instance]:
    """An instance of the peer, with its data socket."""
    directory = Path(tempfile.mkdtemp(prefix="vtpm."))
    if peer == "swtpm":
        instance = SwtpmInstance(directory, "conformance")
        yield instance
        instance.close()
    else:
        daemon = Vtpmd(directory)
        try:
            yield daemon.create("conformance", "--pcr-banks", "sha1,sha256,sha384,sha512")
        finally:
            daemon.close()
            defects = [line for line in daemon.log().splitlines() if "failure-mode" in line]
            assert not defects, "\n".join(defects)
    shutil.rmtree(directory)


@pytest.fixture
def tools(served: Instance, tmp_path: Path) -> Tools:
    """tpm2-tools against a TPM that has just been started and cleared."""
    fresh(served)
    return Tools(served, tmp_path)

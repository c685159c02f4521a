"""TPMs to test: the engine, a real swtpm, or both at once."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tpm.harness import EnginePeer, SwtpmPeer, Tester
from tests.tpm.known_keys import Pair
from tests.tpm.shared_identity import with_identity_of


@pytest.fixture(scope="session")
def manufactured() -> bytes:
    """The permanent state of one TPM, made once because its EKs take a while."""
    return EnginePeer.manufactured().stored


@pytest.fixture(scope="session")
def manufactured_with_sha3() -> bytes:
    """The same with the profile that has SHA-3."""
    return EnginePeer.manufactured(profile="sha3-v1").stored


@pytest.fixture
def engine_peer(manufactured: bytes) -> Iterator[EnginePeer]:
    """The engine, powered on, before TPM2_Startup."""
    peer = EnginePeer.restored(manufactured)
    yield peer
    peer.close()


@pytest.fixture
def tester(engine_peer: EnginePeer) -> Tester:
    """The engine after TPM2_Startup(CLEAR)."""
    found = Tester(engine_peer)
    assert found.startup() == 0
    return found


@pytest.fixture
def sha3_tester(manufactured_with_sha3: bytes) -> Iterator[Tester]:
    """The engine with SHA-3, after TPM2_Startup(CLEAR)."""
    peer = EnginePeer.restored(manufactured_with_sha3)
    found = Tester(peer)
    assert found.startup() == 0
    yield found
    peer.close()


@pytest.fixture(scope="session")
def manufactured_pqc() -> bytes:
    """The same with the profile of ML-KEM and ML-DSA."""
    return EnginePeer.manufactured(profile="pqc-v1").stored


@pytest.fixture
def pqc(manufactured_pqc: bytes) -> Iterator[Tester]:
    """The engine with ML-KEM and ML-DSA, after TPM2_Startup(CLEAR)."""
    peer = EnginePeer.restored(manufactured_pqc)
    found = Tester(peer)
    assert found.startup() == 0
    yield found
    peer.close()


@pytest.fixture
def swtpm(short_path: Path) -> Iterator[Tester]:
    """A real swtpm with a state of its own, after TPM2_Startup(CLEAR)."""
    if shutil.which("swtpm") is None:
        pytest.skip("swtpm is not installed")
    peer = SwtpmPeer(short_path)
    found = Tester(peer)
    assert found.startup() == 0
    yield found
    peer.close()


@pytest.fixture
def both(tester: Tester, swtpm: Tester) -> tuple[Tester, Tester]:
    """The engine and a real swtpm, for the same commands: what they answer is compared."""
    return tester, swtpm


@pytest.fixture
def testers(
    manufactured: bytes, swtpm: Tester, short_path: Path
) -> Iterator[tuple[Tester, Tester]]:
    """(engine, swtpm) after TPM2_Startup(CLEAR), with the seeds and proofs of the swtpm in both."""
    peer = EnginePeer.restored(with_identity_of(manufactured, short_path / "peer.state"))
    engine = Tester(peer)
    assert engine.startup() == 0
    yield engine, swtpm
    peer.close()


@pytest.fixture
def pair(testers: tuple[Tester, Tester]) -> Pair:
    """The testers, to be given the same commands."""
    return Pair(testers)

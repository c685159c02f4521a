"""An engine and a swtpm that are the same TPM as far as keys go."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.oracles import libtpms_state
from tests.tpm.harness import EnginePeer, Tester
from tests.tpm.known_keys import Pair

_HIERARCHIES = {"owner": "o", "endorsement": "e", "platform": "p"}


@pytest.fixture
def twins(manufactured: bytes, swtpm: Tester, short_path: Path) -> Iterator[tuple[Tester, Tester]]:
    """(engine, swtpm) after TPM2_Startup(CLEAR), with the seeds and proofs of the swtpm in both."""
    state = libtpms_state.read(short_path / "peer.state" / "tpm2-00.permall")
    document = json.loads(manufactured)
    for name, letter in _HIERARCHIES.items():
        hierarchy = document["permanent"][name]
        hierarchy["seed"] = state.seeds[letter].hex()
        hierarchy["proof"] = state.proofs[letter].hex()
        hierarchy["seed_level"] = state.levels[letter]
    peer = EnginePeer.restored(json.dumps(document).encode())
    engine = Tester(peer)
    assert engine.startup() == 0
    yield engine, swtpm
    peer.close()


@pytest.fixture
def pair(twins: tuple[Tester, Tester]) -> Pair:
    """The twins, to be given the same commands."""
    return Pair(twins)

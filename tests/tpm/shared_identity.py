"""An engine that is the same TPM as a swtpm, as far as what keys are derived from goes."""

from pathlib import Path

from tests.oracles import libtpms_state
from tests.tpm import states

_HIERARCHIES = {"owner": "o", "endorsement": "e", "platform": "p"}


def with_identity_of(manufactured: bytes, swtpm_state: Path) -> bytes:
    """A permanent state of the engine with the seeds and proofs of the swtpm in a directory."""
    state = libtpms_state.read(swtpm_state / "tpm2-00.permall")
    document = states.read(manufactured)
    for name, letter in _HIERARCHIES.items():
        hierarchy = document["permanent"][name]
        hierarchy["seed"] = state.seeds[letter]
        hierarchy["proof"] = state.proofs[letter]
        hierarchy["seed_level"] = state.levels[letter]
    return states.write(document)

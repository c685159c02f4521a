"""A random walk through two TPMs, and the shortest part of it that still makes them disagree.

Every step draws from a generator of its own, so that steps can be left out without changing the
others.
"""

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.differential import steps_nv, steps_objects, steps_sessions, steps_state
from tests.differential.world import DivergedError, World
from tests.tpm.harness import EnginePeer, SwtpmPeer, Tester
from tests.tpm.shared_identity import with_identity_of

Step = Callable[[World, Random], None]
STEPS: dict[Step, int] = {
    **steps_objects.STEPS,
    **steps_sessions.STEPS,
    **steps_nv.STEPS,
    **steps_state.STEPS,
}
"""Every kind of step and how often it comes."""
_KINDS, _WEIGHTS = list(STEPS), list(STEPS.values())


@dataclass
class Outcome:
    """What came of a walk; `error` is what the two disagree about."""

    error: str = ""
    steps: int = 0
    history: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


def walk(manufactured: bytes, seed: int, steps: Sequence[int]) -> Outcome:
    """Take the steps of these numbers on two fresh TPMs."""
    directory = Path(tempfile.mkdtemp(prefix="vtpm."))
    peer = SwtpmPeer(directory)
    try:
        swtpm = Tester(peer)
        assert swtpm.startup() == 0
        state = directory / "peer.state"
        engine = Tester(EnginePeer.restored(with_identity_of(manufactured, state)))
        assert engine.startup() == 0
        world = World(engine, swtpm, state)
        world.count_alike()
        return _take(world, seed, steps)
    finally:
        peer.close()
        shutil.rmtree(directory)


def _take(world: World, seed: int, steps: Sequence[int]) -> Outcome:
    outcome = Outcome(history=world.history, counts=world.counts)
    for number in steps:
        draw = Random(f"{seed}.{number}")
        step = draw.choices(_KINDS, _WEIGHTS)[0]
        outcome.steps += 1
        try:
            step(world, draw)
        except DivergedError:
            break
        except AssertionError as error:
            outcome.error = f"{step.__module__}.{step.__name__}: {error}"
            break
    return outcome


def reduced(manufactured: bytes, seed: int, outcome: Outcome, steps: Sequence[int]) -> Outcome:
    """The same disagreement, with as few steps as leaving out parts of the walk leads to."""
    kept, size = list(steps)[: outcome.steps], outcome.steps // 2
    while size:
        start = 0
        while start < len(kept):
            fewer = kept[:start] + kept[start + size :]
            shorter = walk(manufactured, seed, fewer)
            if shorter.error:
                outcome, kept = shorter, fewer[: shorter.steps]
            else:
                start += size
        size //= 2
    return outcome

"""Where in a TPM's life a state belongs: branch, epoch, generation."""

from dataclasses import dataclass
from typing import Literal

Age = Literal["older", "same", "newer", "other"]


@dataclass(frozen=True)
class Mark:
    """A state of one TPM: the `branch` that its line has, which `epoch` that is, which write.

    Whoever begins a new line of a TPM's life draws a new branch and takes a higher epoch.
    """

    branch: bytes
    epoch: int
    generation: int

    def age(self, other: "Mark") -> Age:
        """How old this state is compared with `other`; of another branch: "other".

        In one branch the epoch decides, then the generation.
        """
        if self.branch != other.branch:
            return "other"
        mine, theirs = (self.epoch, self.generation), (other.epoch, other.generation)
        return "same" if mine == theirs else "newer" if mine > theirs else "older"

    def follows(self, other: "Mark") -> bool:
        """Whether this state is `other`, a newer one, or of a line that began after it."""
        return self.age(other) in ("same", "newer") or self.epoch > other.epoch

    def __str__(self) -> str:
        return f"generation {self.generation}, epoch {self.epoch}"

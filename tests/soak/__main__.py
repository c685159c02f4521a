"""Let machines work on two hosts' vtpmd while parts of them are killed, filled up and taken away.

    python -m tests.soak [--minutes N] [--machines N] [--seed N] [--guest DIR]

The oracle: every increment and every failed authorization that was acknowledged is there, after
each reset and in the end. Exit status: 0 if nothing was lost; 1 otherwise.
"""

import argparse
import sys
from pathlib import Path

from tests.soak.run import soak


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0, help="how long; 30")
    parser.add_argument("--machines", type=int, default=4, help="how many work; 4")
    parser.add_argument("--seed", type=int, default=1, help="of what happens when; 1")
    parser.add_argument("--guest", type=Path, metavar="DIR", help="the image of a guest that works")
    options = parser.parse_args()
    outcome = soak(options.minutes * 60, options.machines, options.seed, options.guest)
    for title, counts in (("machines", outcome.tally), ("faults", outcome.faults)):
        print(f"{title}:")
        for name, number in sorted(counts.items()):
            print(f"  {number:9} {name}")
    print(f"state losses: {len(outcome.losses)}")
    for loss in outcome.losses:
        print(f"  {loss}")
    return 1 if outcome.losses else 0


if __name__ == "__main__":
    sys.exit(main())

"""A quick share of the kills, flips and pairs in one process, which imports everything once.

python -m tests.robustness --seed 0
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

from tests.robustness.flips import Flips
from tests.robustness.kills import Kills
from tests.robustness.outcomes import Outcomes
from tests.robustness.pairs import Pairs
from tests.robustness.workshop import COMMANDS, READERS, Workshop

_STAGE = "evaluated"
_KILLED = ("evaluate", "train")
_READERS = ("compare", "evaluate", "train")
_PAIRS = (("train", "train"), ("evaluate", "train"))


def main() -> int:
    """Try it; returns 1 where something failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    seed = parser.parse_args().seed
    random = np.random.default_rng(seed)
    killed, damaged, met = (Outcomes(title) for title in ("killed command", "damaged", "at the same time"))
    with tempfile.TemporaryDirectory() as folder:
        workshop = Workshop(Path(folder))
        workshop.make(until=_STAGE)
        kills, flips, pairs = Kills(workshop, killed), Flips(workshop, damaged), Pairs(workshop, met)
        for name in _KILLED:
            kills.at_operations(COMMANDS[name], at_most=2)
            kills.at_a_moment(COMMANDS[name], random.uniform())
        flips.find_out([reader for reader in READERS if reader.name in _READERS])
        for number, kind in enumerate(flips.kinds):
            flips.try_all(flips.draw(number, random, kind)[:1], seed)
        for one, other in _PAIRS:
            pairs.at_once((COMMANDS[one], COMMANDS[other]), "cached", random.uniform(0, 0.2))
    return max(outcomes.finish() for outcomes in (killed, damaged, met))


if __name__ == "__main__":
    sys.exit(main())

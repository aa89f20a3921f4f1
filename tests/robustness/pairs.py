"""Every two commands at the same time on one run folder.

Each must end well, wait for the other, or be refused in words; run again one after the other, they must then leave,
byte for byte, the folder that they leave where they never met.

    python -m tests.robustness.pairs --seed 0 [--trials N] [--command X [--command Y]]
"""

import argparse
import itertools
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.robustness.forking import Ended
from tests.robustness.outcomes import Outcomes, fault_of, say, some
from tests.robustness.workshop import COMMANDS, STAGES, Command, Trials, Workshop, differences

_APART = 0.5  # seconds between their starts, at most
Pair = tuple[Command, Command]
History = tuple[Command, ...]
# Of commands that differ in little one is tried.
_LEFT_OUT = (
    "evaluate with figures", "compare with figures", "compare --tune", "finetune anew", "stability anew", "sweep anew",
    "report anew", "score anew", "compare anew",
)  # fmt: skip


class Pairs(Trials):
    """Tries pairs of commands of a workshop."""

    def __init__(self, workshop: Workshop, outcomes: Outcomes) -> None:
        super().__init__(workshop, outcomes)
        self._alone = dict[tuple[str, ...], dict[str, bytes]]()

    def at_once(self, pair: Pair, stage: str, apart: float) -> None:
        """Start two commands, the second a little later, and see what they leave.

        Args:
            pair: The commands.
            stage: What is there before.
            apart: Seconds between the starts.
        """
        one, other = pair
        self._workshop.begin(stage)
        first = self._workshop.launcher.start(one.words, self._workshop.here)
        time.sleep(apart)
        second = self._workshop.launcher.start(other.words, self._workshop.here)
        ended = [first.ended(), second.ended()]
        row = f"{one.name} & {other.name}"
        repeat = f"--command '{one.name}' --command '{other.name}'"
        faults = [
            f"{command.name}: {fault}: {result.last_line}"
            for command, result in zip(pair, ended, strict=True)
            if (fault := fault_of(result))
        ]
        where = f"from {stage}, {apart:.2f} s apart"
        done = tuple(command for command, result in zip(pair, ended, strict=True) if not result.code)
        problem = self._again(pair, stage, done)
        if problem:
            faults.append(f"ended {_codes(ended)}, then {problem[0]}: {problem[1]}")
        if faults:
            outcome = problem[0] if problem else "disturbed"
            self._outcomes.failed(row, outcome, f"{where}: {'; '.join(faults)}", repeat)
        else:
            self._outcomes.passed(row, "both well" if not any(result.code for result in ended) else "one refused")

    def _again(self, pair: Pair, stage: str, done: History) -> tuple[str, str] | None:
        """Run both again, one after the other, and compare with the same where they never met: where those that ended
        well came in one order or the other, and where both came.
        """
        again = self._in_turn(pair)
        found = self._workshop.contents()
        nearest = list[str]()
        for before in dict.fromkeys((done, done[::-1], pair, pair[::-1])):
            unlike = differences(found, self._never_met(before, pair, stage))
            if not unlike:
                return None
            nearest = min(nearest or unlike, unlike, key=len)
        fault = next((fault for result in again if (fault := fault_of(result))), None)
        return ("again: " + fault, again[-1].last_line) if fault else ("not whole", some(nearest))

    def _never_met(self, before: History, pair: Pair, stage: str) -> dict[str, bytes]:
        """What they leave after commands that came before, one after the other."""
        key = (stage, *(command.name for command in (*before, *pair)))
        if key not in self._alone:
            self._workshop.begin(stage)
            self._in_turn(before)
            self._in_turn(pair)
            self._alone[key] = self._workshop.contents()
        return self._alone[key]

    def _in_turn(self, commands: History) -> list[Ended]:
        return [self._workshop.run(command.words) for command in commands]


def _codes(ended: Sequence[Ended]) -> str:
    return " and ".join(str(result.code) for result in ended)


def stage_of(pair: Pair, latest: bool) -> str:
    """The stage of one of two commands: of the one that comes later, or of the other."""
    return (max if latest else min)((command.stage for command in pair), key=STAGES.index)


def main(arguments: Sequence[str] | None = None) -> int:
    """Try what is asked for; returns 1 where something failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="Of the moments at which the second is started.")
    parser.add_argument("--trials", type=int, help="Pairs, drawn at random. Default: all.")
    parser.add_argument(
        "--command", action="append", choices=list(COMMANDS), help="Pairs with this one; given twice, this pair."
    )
    asked = parser.parse_args(arguments)
    outcomes = Outcomes("at the same time")
    started = time.monotonic()
    random = np.random.default_rng(asked.seed)
    chosen = _chosen(asked.command or ())
    if asked.trials is not None:
        chosen = [chosen[place] for place in random.permutation(len(chosen))[: asked.trials]]
    with tempfile.TemporaryDirectory() as folder:
        workshop = Workshop(Path(folder))
        workshop.make()
        pairs = Pairs(workshop, outcomes)
        for number, pair in enumerate(chosen):
            pairs.at_once(pair, stage_of(pair, latest=bool(number % 2)), random.uniform(0, _APART))
    say(f"{outcomes.n_trials} pairs in {time.monotonic() - started:,.0f} s, seed {asked.seed}")
    return outcomes.finish()


def _chosen(names: Sequence[str]) -> list[Pair]:
    commands = [command for name, command in COMMANDS.items() if name not in _LEFT_OUT or name in names]
    every = list(itertools.combinations_with_replacement(commands, 2))
    if len(names) == 2:
        return [(COMMANDS[names[0]], COMMANDS[names[1]])] * 2  # from either's stage
    return [pair for pair in every if not names or names[0] in (command.name for command in pair)]


if __name__ == "__main__":
    sys.exit(main())

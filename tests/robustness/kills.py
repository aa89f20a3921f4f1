"""Kills of every command: before each of its file operations, with files half-written, and at random moments.

Then the same command is run again, and the folder must hold, byte for byte, what it holds where nothing was killed.

    python -m tests.robustness.kills --seed 0 [--trials N] [--command X] [--at N --how before|cut]
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.robustness.forking import Ended
from tests.robustness.operations import How, Operation, count, die_at, read_counted, unfinished
from tests.robustness.outcomes import Outcomes, fault_of, say, some
from tests.robustness.workshop import COMMANDS, Command, Trials, Workshop, differences

_MOST = 150  # operations of a command at which it is killed, unless all are asked for
_RANDOM = 300
Kill = tuple[int, How]


@dataclass(frozen=True)
class _Unkilled:
    """What a command does where nobody kills it."""

    command: Command
    operations: list[Operation]
    contents: dict[str, bytes]
    contents_then: dict[str, bytes]
    seconds: float

    @property
    def kills(self) -> list[Kill]:
        """All that can be tried."""
        numbers = range(len(self.operations))
        cuts = [(number, "cut") for number in numbers if unfinished(self.operations[:number], self.operations[number])]
        return sorted([*((number, "before") for number in numbers), *cuts])  # type: ignore[list-item]  # literals


class Kills(Trials):
    """Tries commands of a workshop."""

    def __init__(self, workshop: Workshop, outcomes: Outcomes) -> None:
        super().__init__(workshop, outcomes)
        self._known = dict[str, _Unkilled]()

    def at_operations(self, command: Command, at_most: int | None = _MOST, only: Kill | None = None) -> None:
        """Kill a command before each of its file operations.

        Args:
            command: The command.
            at_most: So many, spread evenly; None for all.
            only: This one alone.
        """
        whole = self._unkilled(command)
        chosen = [only] if only else _spread(whole.kills, at_most)
        say(f"{command.name}: {len(chosen)} of {len(whole.kills)} kills at {len(whole.operations)} file operations")
        for number, how in chosen:
            self._workshop.begin(command.stage)
            child = self._workshop.launcher.start(
                command.words, self._workshop.here, die_at(self._workshop.here, number, how)
            )
            where = f"{how} {number} ({whole.operations[number]})"
            self._check(whole, child.ended(), where, f"--command '{command.name}' --at {number} --how {how}")

    def at_a_moment(self, command: Command, share: float) -> None:
        """Kill a command after a share of the time that it takes."""
        whole = self._unkilled(command)
        seconds = share * whole.seconds
        self._workshop.begin(command.stage)
        child = self._workshop.launcher.start(command.words, self._workshop.here)
        ended = child.ended() if child.has_ended(seconds) else child.kill()
        self._check(whole, ended, f"after {seconds:.3f} s", f"--command '{command.name}', by the same seed")

    def _unkilled(self, command: Command) -> _Unkilled:
        if command.name not in self._known:
            self._known[command.name] = self._find_out(command)
        return self._known[command.name]

    def _find_out(self, command: Command) -> _Unkilled:
        workshop, note = self._workshop, self._workshop.here.with_name("operations.jsonl")
        found = list[dict[str, bytes]]()
        for _ in range(2):
            workshop.begin(command.stage)
            ended = workshop.launcher.start(command.words, workshop.here, count(workshop.here, note)).ended()
            assert ended.code == 0, f"{command.name}: {ended}"
            found.append(workshop.contents())
        unlike = differences(*found)
        if unlike:
            self._outcomes.failed(command.name, "twice is not the same", some(unlike), f"--command '{command.name}'")
        for words in command.then:
            workshop.run(words)
        return _Unkilled(command, read_counted(note), found[0], workshop.contents(), ended.seconds)

    def _check(self, whole: _Unkilled, killed: Ended, where: str, repeat: str) -> None:
        """Run the command again, and compare."""
        name = whole.command.name
        if killed.code not in (-9, 0):
            self._outcomes.failed(name, "not killed", f"{where}: {killed.code} {killed.last_line}", repeat)
            return
        problem = self._between(whole) or self._again(whole)
        if problem:
            outcome, why = problem
            self._outcomes.failed(name, outcome, f"{where}: {why}", repeat)
        else:
            self._outcomes.passed(name, "killed, then whole" if killed.code else "ended before, whole")

    def _between(self, whole: _Unkilled) -> tuple[str, str] | None:
        """Other commands on what was left: they may refuse, no more."""
        for words in whole.command.then:
            ended = self._workshop.run(words)
            fault = fault_of(ended)
            if fault:
                return f"{words[0]} on the remains: {fault}", ended.last_line
        return None

    def _again(self, whole: _Unkilled) -> tuple[str, str] | None:
        expected = whole.contents
        for number, words in enumerate((whole.command.words, *whole.command.then)):
            ended = self._workshop.run(words)
            fault = fault_of(ended) or ("refused" if ended.code else None)
            if fault:
                return f"again: {fault}", f"{words[0]}: {ended.last_line}"
            expected = whole.contents if number == 0 and not whole.command.then else whole.contents_then
        unlike = differences(self._workshop.contents(), expected)
        return (_outcome_of(unlike), some(unlike)) if unlike else None


def _outcome_of(unlike: Sequence[str]) -> str:
    for words, outcome in (("missing", "lost"), ("other bytes", "other bytes"), ("left over", "left over")):
        if any(words in line for line in unlike):
            return outcome
    return "different"


def _spread(kills: Sequence[Kill], at_most: int | None) -> list[Kill]:
    if at_most is None or len(kills) <= at_most:
        return list(kills)
    return [kills[round(place)] for place in np.linspace(0, len(kills) - 1, at_most)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Try what is asked for; returns 1 where something failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="Of the random moments.")
    parser.add_argument("--trials", type=int, default=_MOST, help="Kills at operations of a command, at most.")
    parser.add_argument("--all", action="store_true", help="At every operation, however many there are.")
    parser.add_argument("--random", type=int, default=_RANDOM, help="Kills at random moments, of all commands.")
    parser.add_argument("--command", action="append", choices=list(COMMANDS), help="This one alone; can be repeated.")
    parser.add_argument("--at", type=int, help="Before this operation alone.")
    parser.add_argument("--how", choices=["before", "cut"], default="before")
    asked = parser.parse_args(arguments)
    chosen = [COMMANDS[name] for name in asked.command or COMMANDS]
    outcomes = Outcomes("killed command")
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        workshop = Workshop(Path(folder))
        workshop.make()
        kills = Kills(workshop, outcomes)
        for command in chosen:
            only = None if asked.at is None else (asked.at, asked.how)
            kills.at_operations(command, None if asked.all else asked.trials, only)
        random = np.random.default_rng(asked.seed)
        for _ in range(0 if asked.at is not None else asked.random):
            kills.at_a_moment(chosen[random.integers(len(chosen))], random.uniform())
    say(f"{outcomes.n_trials} kills in {time.monotonic() - started:,.0f} s, seed {asked.seed}")
    return outcomes.finish()


if __name__ == "__main__":
    sys.exit(main())
